// Package process runs the server and the load of a scenario: each a process of its own on a core of its own, driven by
// calls over a pipe.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Role is what a child process does, and its only argument.
type Role string

// The two ends of every scenario.
const (
	Server Role = "server"
	Load   Role = "load"
)

// pipe joins the two ends of a child's standard streams. It ends with what is written to the child.
type pipe struct {
	io.Reader
	io.WriteCloser
}

// Process is a child.
type Process struct {
	role   Role
	cmd    *exec.Cmd
	client *rpc.Client
	killed bool
}

// Start runs this executable again, as role, on the core that the role has: the first for the load, the last for the server. It is
// killed when ctx ends.
func Start(ctx context.Context, role Role) (*Process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, executable, string(role))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startOnCore(cmd, role); err != nil {
		return nil, fmt.Errorf("start the %s process: %w", role, err)
	}
	return &Process{role: role, cmd: cmd, client: rpc.NewClient(pipe{out, in})}, nil
}

// startOnCore starts cmd on a thread that is bound to the role's core, which the child inherits. Go then counts one processor.
func startOnCore(cmd *exec.Cmd, role Role) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	core := coreOf(role, &allowed)
	var one unix.CPUSet
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &allowed))
}

func coreOf(role Role, allowed *unix.CPUSet) int {
	last := -1
	for core := range len(allowed) * 64 {
		if !allowed.IsSet(core) {
			continue
		}
		if last = core; role == Load {
			break
		}
	}
	return last
}

// Call calls a method of the child's receiver, such as "Load.Open".
func (p *Process) Call(method string, arguments, reply any) error {
	if err := p.client.Call(method, arguments, reply); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// closeTimeout is how long a child may take to end by itself.
const closeTimeout = 5 * time.Second

// Close ends the child by closing its pipe, and waits for it. A child that does not end, as a call hangs in it, is killed. One that Kill
// has ended, or that never started, is left alone.
func (p *Process) Close() error {
	if p == nil || p.killed {
		return nil
	}
	_ = p.client.Close() // The child's exit says more.
	// Killing fails where the child has ended.
	kill := time.AfterFunc(closeTimeout, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the %s process: %w", p.role, err)
	}
	return nil
}

// Kill ends the child with SIGKILL, and waits for it.
func (p *Process) Kill() error {
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = p.cmd.Wait() // Says that it was killed.
	_ = p.client.Close()
	return nil
}

// Serve answers the parent's calls to receiver until the parent closes the pipe. It is what a child does.
func Serve(name Role, receiver any) error {
	calls := pipe{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr // What a library prints must not get among the answers.
	server := rpc.NewServer()
	if err := server.RegisterName(string(name), receiver); err != nil {
		return err
	}
	server.ServeConn(calls)
	return nil
}
