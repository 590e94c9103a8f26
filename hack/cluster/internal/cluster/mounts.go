package cluster

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// mountsUnder picks from the content of mountinfo the mount points below root, the latest first: the order to unmount them in.
func mountsUnder(mountinfo, root string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeOctal.Replace(fields[4])
		if strings.HasPrefix(point, root+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}

// unescapeOctal undoes what proc(5) does to a path in mountinfo.
var unescapeOctal = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mounts lists the mount points under Root.
func mounts() ([]string, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountsUnder(string(content), Root), nil
}

// unmountAll unmounts everything under Root and says how many mounts there were.
func unmountAll() (int, error) {
	points, err := mounts()
	if err != nil {
		return 0, err
	}
	for _, point := range points {
		// Detached: nothing of ours runs any more, and a person's shell standing in a folder must not stop us.
		err := syscall.Unmount(point, syscall.MNT_DETACH)
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			return len(points), fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return len(points), nil
}
