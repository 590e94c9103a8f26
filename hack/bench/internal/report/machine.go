package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where something was measured.
type Machine struct {
	Cores           int
	CPU             string
	MemoryGiB       int
	Kernel          string
	Go              string
	Descriptors     uint64 // that a process may have open
	TransparentHuge string // whether the kernel uses huge pages by itself
	Counts          []Count
}

// Count says how something is counted, or why it is not.
type Count struct{ What, How string }

// ThisMachine looks at where it runs. Go raises the soft limit of descriptors to the hard one, in every process.
func ThisMachine() (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return m, err
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(uname.Release[:]), "-")
	m.Kernel = "Linux " + release
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return m, err
	}
	m.Descriptors = limit.Cur
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	m.CPU = describeCPU(string(cpu))
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return m, err
	}
	m.MemoryGiB = int(memory.Totalram * uint64(memory.Unit) >> 30)
	m.TransparentHuge = "unknown"
	if huge, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil {
		_, chosen, _ := strings.Cut(string(huge), "[")
		m.TransparentHuge, _, _ = strings.Cut(chosen, "]")
	}
	return m, nil
}

// describeCPU is the model's name, and its numbers, as virtual machines like to keep the name to themselves.
func describeCPU(cpuinfo string) string {
	fields := map[string]string{}
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); fields[key] == "" {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%s (family %s, model %s, stepping %s)", fields["model name"], fields["cpu family"], fields["model"], fields["stepping"])
}
