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

// Own returns what this process uses. Settled first collects garbage, which shrinks stacks, and gives the memory that is free back to
// the system, as the runtime would in a few minutes.
func Own(settled bool) (Usage, error) {
	if settled {
		// What one collection moves to a pool's victims the next frees; a stack shrinks by half each time.
		for range 4 {
			runtime.GC()
		}
		debug.FreeOSMemory()
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return Usage{}, err
	}
	resident, err := readKilobytes("/proc/self/smaps_rollup", "Rss:")
	if err != nil {
		return Usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		CPU:      time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Resident: resident,
		Heap:     m.HeapInuse,
		Stack:    m.StackInuse,
	}, nil
}

// KernelMemory is the memory in bytes that the kernel holds in its slabs, for the whole machine. It tells what sockets cost, both ends
// of them.
func KernelMemory() (uint64, error) { return readKilobytes("/proc/meminfo", "Slab:") }

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
