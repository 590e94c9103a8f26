package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is something that the kernel counts for a process.
type Event string

// The events. Counting system calls slows every system call of the machine down, so nothing is timed meanwhile.
const (
	SystemCalls  Event = "system calls"
	Instructions Event = "instructions" // in user mode
)

// Events returns all events. Countable says which of them this machine can count.
func Events() []Event { return []Event{SystemCalls, Instructions} }

// Countable returns nil if this machine counts the event, and else the reason.
func (e Event) Countable() error {
	c, err := startCounting(e)
	if err == nil {
		_, err = c.stop()
	}
	return err
}

// Counter is what a receiver needs that counts what all threads of its process do, and what it allocates.
type Counter struct {
	events    []eventCounter
	allocated runtime.MemStats
}

// Counts is what a process did between Count and Counted.
type Counts struct {
	Events      []uint64 // in the order of the events counted
	Allocations uint64
	Bytes       uint64 // allocated
}

// Count begins to count.
func (c *Counter) Count(events []Event, _ *struct{}) error {
	for _, e := range events {
		counter, err := startCounting(e)
		if err != nil {
			_ = c.Counted(struct{}{}, &Counts{}) // The first error says more.
			return fmt.Errorf("count %s: %w", e, err)
		}
		c.events = append(c.events, counter)
	}
	runtime.ReadMemStats(&c.allocated)
	return nil
}

// Counted ends counting, and replies with what was counted.
func (c *Counter) Counted(_ struct{}, counts *Counts) error {
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	*counts = Counts{Allocations: now.Mallocs - c.allocated.Mallocs, Bytes: now.TotalAlloc - c.allocated.TotalAlloc}
	var errs []error
	for _, e := range c.events {
		n, err := e.stop()
		counts.Events = append(counts.Events, n)
		errs = append(errs, err)
	}
	c.events = nil
	return errors.Join(errs...)
}

// eventCounter has a file of the kernel's for each thread that lives when counting begins. Threads that these start are counted with
// them.
type eventCounter []int

func startCounting(e Event) (counter eventCounter, err error) {
	attributes := unix.PerfEventAttr{
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits: unix.PerfBitInherit | unix.PerfBitExcludeHv,
	}
	switch e {
	case SystemCalls:
		attributes.Type = unix.PERF_TYPE_TRACEPOINT
		if attributes.Config, err = tracepoint("raw_syscalls/sys_enter"); err != nil {
			return nil, err
		}
	case Instructions:
		attributes.Type, attributes.Config = unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS
		attributes.Bits |= unix.PerfBitExcludeKernel
	default:
		return nil, fmt.Errorf("%q is not a known event", e)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		file, err := unix.PerfEventOpen(&attributes, id, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			continue // The thread has just ended.
		}
		if err != nil {
			_, _ = counter.stop() // The first error says more.
			return nil, os.NewSyscallError("perf_event_open", err)
		}
		counter = append(counter, file)
	}
	return counter, nil
}

// stop returns the count, and closes the files.
func (c eventCounter) stop() (total uint64, err error) {
	for _, file := range c {
		var count [8]byte
		_, failure := unix.Read(file, count[:])
		err = errors.Join(err, failure, unix.Close(file))
		total += binary.NativeEndian.Uint64(count[:])
	}
	return total, err
}

// tracepoint returns the kernel's number of a tracepoint. It mounts tracefs where nobody sees it, as most machines do not mount it.
func tracepoint(name string) (uint64, error) {
	filesystem, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("fsopen tracefs", err)
	}
	defer unix.Close(filesystem)
	if err := unix.FsconfigCreate(filesystem); err != nil {
		return 0, os.NewSyscallError("fsconfig tracefs", err)
	}
	mount, err := unix.Fsmount(filesystem, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("fsmount tracefs", err)
	}
	defer unix.Close(mount)
	file, err := unix.Openat(mount, "events/"+name+"/id", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open tracefs", err)
	}
	defer unix.Close(file)
	content := make([]byte, 20)
	n, err := unix.Read(file, content)
	if err != nil {
		return 0, os.NewSyscallError("read tracefs", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(content[:n])), 10, 64)
}
