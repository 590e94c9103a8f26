// Package programs runs operator, masters and nodes as processes of their own: the test binary, told by its environment
// which of them to be.
package programs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/refinery-operator/refinery-operator/internal/agent"
	"github.com/refinery-operator/refinery-operator/internal/master"
	"github.com/refinery-operator/refinery-operator/internal/operator"
)

// What a process can be.
const (
	Operator = "operator"
	Master   = "master"
	Node     = "node"
)

// runAs in the environment makes a test binary a program.
const runAs = "RUN_AS"

// Main is for TestMain to begin with. In a process that Start has made it is the program, and does not return.
func Main() {
	kind := os.Getenv(runAs)
	if kind == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := program(ctx, kind)
	stop()
	os.Exit(code)
}

// program is what the commands do.
func program(ctx context.Context, kind string) int {
	switch kind {
	case Operator:
		return operator.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	case Master:
		return master.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	config, err := agent.ParseFlags(os.Args[1:])
	if err == nil {
		err = agent.Run(ctx, config, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Process is a program that runs.
type Process struct {
	Name string
	Log  string // file
	PID  int

	command *exec.Cmd
	ended   chan struct{}
}

// Start runs a program until the test ends. Its log is a file in directory; of a test that failed, the end of it is shown.
func Start(t testing.TB, kind, name, directory string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, Log: filepath.Join(directory, name+".log"), ended: make(chan struct{})}
	output, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.command = exec.Command(os.Args[0], args...) //nolint:gosec // this very program
	p.command.Env = append(os.Environ(), runAs+"="+kind)
	p.command.Stdout, p.command.Stderr = output, output
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.PID = p.command.Process.Pid
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended, its log says
		_ = output.Close()
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			content, _ := os.ReadFile(p.Log)
			t.Logf("%s:\n%s", name, content[max(0, len(content)-4000):])
		}
	})
	return p
}

// Signal sends a signal. To a process that has ended it is nothing.
func (p *Process) Signal(s syscall.Signal) { _ = p.command.Process.Signal(s) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop ends the process in good order, also one that is frozen, and returns when it has ended.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	p.Signal(syscall.SIGCONT)
	<-p.ended
}
