package agent

import (
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// cpuShare measures how much of its CPU a cgroup (version 2) uses.
type cpuShare struct {
	directory string

	at   time.Time // of the last sample; zero: none
	used time.Duration
}

// sample returns the share since the last sample, from 0 to 1; false if there is none.
func (c *cpuShare) sample(now time.Time) (share float64, ok bool, err error) {
	used, err := c.usage()
	if err != nil {
		c.at = time.Time{}
		return 0, false, err
	}
	cpus, err := c.cpus()
	before, elapsed := c.used, now.Sub(c.at)
	first := c.at.IsZero()
	c.at, c.used = now, used
	if err != nil || first || elapsed <= 0 || used < before {
		return 0, false, err
	}
	return min(1, (used-before).Seconds()/elapsed.Seconds()/cpus), true, nil
}

// usage is the CPU time that the cgroup has used.
func (c *cpuShare) usage() (time.Duration, error) {
	text, err := c.file("cpu.stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			microseconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil || microseconds < 0 {
				break
			}
			return time.Duration(microseconds) * time.Microsecond, nil
		}
	}
	return 0, errors.New("cpu.stat has no usage_usec")
}

// cpus is how many CPUs the cgroup may use. Without a limit of its own these are all.
func (c *cpuShare) cpus() (float64, error) {
	text, err := c.file("cpu.max")
	if errors.Is(err, secretfiles.ErrMissing) { // of the root
		return float64(runtime.NumCPU()), nil
	}
	if err != nil {
		return 0, err
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(text), " ")
	if quota == "max" {
		return float64(runtime.NumCPU()), nil
	}
	q, err := strconv.ParseUint(quota, 10, 63)
	p, err2 := strconv.ParseUint(period, 10, 63)
	if errors.Join(err, err2) != nil || q == 0 || p == 0 {
		return 0, errors.New("cpu.max is not a quota and a period")
	}
	return float64(q) / float64(p), nil
}

func (c *cpuShare) file(name string) (string, error) {
	f, err := secretfiles.OpenRegular(filepath.Join(c.directory, name))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, 4<<10))
	return string(text), err
}
