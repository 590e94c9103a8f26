package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Every component carries these variables, and its children (containerd's shims) inherit them. They identify a process for
// certain, without a pid file that could be lost in a crash or outlive its process and name another.
const (
	rootVariable = "REFINERY_CLUSTER_ROOT"
	partVariable = "REFINERY_CLUSTER_PART"
)

// process is a running process of the cluster.
type process struct {
	pid     int
	part    string // the component it is, or descends from
	program string // the name of its executable
}

// running lists the live processes that carry the marker for root.
func running(proc, root string) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if part, ok := partOf(proc, root, pid); ok {
			program, _ := os.Readlink(filepath.Join(proc, entry.Name(), "exe")) // "" when it has just ended
			found = append(found, process{pid: pid, part: part, program: filepath.Base(program)})
		}
	}
	return found, nil
}

// findComponent picks the process that is the named component itself, and not one of its children.
func findComponent(processes []process, name string) (process, bool) {
	i := slices.IndexFunc(processes, func(p process) bool { return p.part == name && p.program == name })
	if i < 0 {
		return process{}, false
	}
	return processes[i], true
}

// partOf says whether pid belongs to the cluster at root. A process that has ended, or waits only to be reaped, has no environment.
func partOf(proc, root string, pid int) (part string, ok bool) {
	environ, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "environ"))
	if err != nil {
		return "", false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, _ := strings.Cut(string(variable), "=")
		switch name {
		case rootVariable:
			ok = value == root
		case partVariable:
			part = value
		}
	}
	return part, ok
}

// kill ends p and waits until it is gone. The pid is pinned before its identity is checked again, so a number that was
// given to another process in between is never signalled.
func (p process) kill(timeout time.Duration) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pin process %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	if _, ok := partOf("/proc", Root, p.pid); !ok {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s (process %d): %w", p.part, p.pid, err)
	}
	return awaitExit(fd, timeout, fmt.Sprintf("%s (process %d)", p.part, p.pid))
}

// awaitExit waits until the process behind a pidfd has ended.
func awaitExit(fd int, timeout time.Duration, what string) error {
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%s did not end", what)
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ready > 0 {
			return nil
		}
	}
}

// component is a daemon of the cluster.
type component struct {
	name string
	path string
	args []string
}

func (c component) logPath() string { return under("logs", c.name+".log") }

// start runs the component in a session of its own, so that it outlives this program. The channel closes when it ends.
func (c component) start() (ended <-chan struct{}, err error) {
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = Root
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + under("home"),
		rootVariable + "=" + Root,
		partVariable + "=" + c.name,
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return done, nil
}

// lastWords are the end of the component's log, for an error message.
func (c component) lastWords() string {
	const lines = 8
	content, err := os.ReadFile(c.logPath())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return fmt.Sprintf("end of %s:\n%s", c.logPath(), strings.Join(all[max(0, len(all)-lines):], "\n"))
}
