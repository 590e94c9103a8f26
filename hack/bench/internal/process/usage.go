package process

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what the receivers of both roles can tell.
type Usage struct{}

// CPU replies with the processor time that this process has used since it started, in user mode and in the kernel.
func (Usage) CPU(_ struct{}, used *time.Duration) error {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return err
	}
	*used = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	return nil
}

// Memory is what a process occupies, in bytes.
type Memory struct {
	Resident uint64 // in RAM
	Heap     uint64 // of it in spans of the Go heap
	Stack    uint64 // of it in goroutine stacks
	// Kernel is what the kernel holds in its slabs, for the whole machine. It shows what sockets cost, both ends of them.
	Kernel uint64
}

// Memory replies with the memory of this process. Settled first collects garbage, which shrinks stacks, and returns free memory to the
// system, as the runtime would within a few minutes.
func (Usage) Memory(settled bool, memory *Memory) error {
	if settled {
		// What one collection moves to a pool's victims the next frees; a stack shrinks by half each time.
		for range 4 {
			runtime.GC()
		}
		debug.FreeOSMemory()
	}
	resident, err := readKilobytes("/proc/self/smaps_rollup", "Rss:")
	if err != nil {
		return err
	}
	kernel, err := readKilobytes("/proc/meminfo", "Slab:")
	if err != nil {
		return err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	*memory = Memory{Resident: resident, Heap: m.HeapInuse, Stack: m.StackInuse, Kernel: kernel}
	return nil
}

// readKilobytes returns, in bytes, the number behind key in a file of lines such as "Rss:   1234 kB".
func readKilobytes(path, key string) (uint64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(content) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == key {
			n, err := strconv.ParseUint(string(fields[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line %q", path, key)
}
