package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupControllers are those the kubelet needs on its parent group.
var cgroupControllers = []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"}

// podCgroups are the parent groups of the cluster's pods: one in each hierarchy of cgroup v1, or a single one of v2.
func podCgroups(mount string) ([]string, error) {
	if isUnified(mount) {
		return []string{filepath.Join(mount, cgroup)}, nil
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return nil, err
	}
	var groups []string
	for _, entry := range entries {
		if entry.IsDir() { // the others are links, such as cpu -> cpu,cpuacct
			groups = append(groups, filepath.Join(mount, entry.Name(), cgroup))
		}
	}
	return groups, nil
}

func isUnified(mount string) bool { return fileExists(filepath.Join(mount, "cgroup.controllers")) }

// createCgroups makes the parent groups.
func createCgroups() error {
	groups, err := podCgroups(cgroupMount)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	if !isUnified(cgroupMount) {
		return nil
	}
	for _, controller := range cgroupControllers {
		for _, parent := range []string{cgroupMount, groups[0]} {
			// One the kernel lacks is not there to be enabled; the kubelet names those it cannot do without.
			_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
	}
	return nil
}

// cgroupTree lists the groups at and below roots, deepest first.
func cgroupTree(roots []string) ([]string, error) {
	var groups []string
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(groups)
	return groups, nil
}

// killCgroups sends SIGKILL to every process in the groups, and says how many there were.
func killCgroups(groups []string) (int, error) {
	killed := map[int]bool{}
	for _, group := range groups {
		content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			continue
		}
		if err != nil {
			return len(killed), err
		}
		for field := range strings.FieldsSeq(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 1 || killed[pid] {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return len(killed), err
			}
			killed[pid] = true
		}
	}
	return len(killed), nil
}

// removeCgroups removes empty groups; busy says that some still hold processes that are ending.
func removeCgroups(groups []string) (busy bool, err error) {
	for _, group := range groups {
		err := syscall.Rmdir(group)
		switch {
		case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.ENOTEMPTY):
			busy = true
		case err != nil && !errors.Is(err, syscall.ENOENT):
			return busy, fmt.Errorf("remove cgroup %s: %w", group, err)
		}
	}
	return busy, nil
}
