package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// stopTimeout is how long killed processes may take to be gone.
const stopTimeout = 10 * time.Second

// Down ends the cluster and removes every trace of it. It reads what there is from the kernel, not from records of what was
// started, so it is the same after a crash, and does nothing where there is nothing.
func Down(ctx context.Context, w *progress.Writer) error {
	if err := requireRoot(); err != nil {
		return err
	}
	unlock, err := lock(ctx, w)
	if err != nil {
		return err
	}
	defer unlock()
	removed, err := clean(ctx)
	if err != nil {
		return err
	}
	if len(removed) == 0 {
		w.Printf("there is no cluster")
		return nil
	}
	w.Printf("cluster removed: %s", strings.Join(removed, ", "))
	return nil
}

// clean removes whatever a cluster, running or crashed, left on the machine, and says what there was.
func clean(ctx context.Context) (removed []string, err error) {
	// Processes go first: they hold the mounts, the interfaces and the folders.
	for _, step := range []func(context.Context) (string, error){
		killComponents, killPods, removeMounts, removeTables, removeBridge, putBackSysctls, removeFiles,
	} {
		did, err := step(ctx)
		if err != nil {
			return removed, fmt.Errorf("clean up: %w", err)
		}
		if did != "" {
			removed = append(removed, did)
		}
	}
	return removed, nil
}

// killComponents ends the daemons and containerd's shims, which inherited its marker.
func killComponents(context.Context) (string, error) {
	total := 0
	for deadline := time.Now().Add(stopTimeout); ; {
		processes, err := running("/proc", Root)
		if err != nil {
			return "", err
		}
		if len(processes) == 0 {
			return count(total, "process", "processes"), nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%d processes did not end; the first is %d (%s)", len(processes), processes[0].pid, processes[0].part)
		}
		for _, p := range stopOrder(processes) {
			if err := p.kill(stopTimeout); err != nil {
				return "", err
			}
			total++
		}
	}
}

// stopOrder puts the kubelet and containerd first: they would react to the end of the others.
func stopOrder(processes []process) []process {
	rank := func(p process) int {
		switch p.program {
		case kubelet:
			return 0
		case containerd:
			return 1
		default:
			return 2
		}
	}
	return slices.SortedStableFunc(slices.Values(processes), func(a, b process) int { return rank(a) - rank(b) })
}

// killPods ends what ran in the pods, and removes their control groups.
func killPods(ctx context.Context) (string, error) {
	roots, err := podCgroups(cgroupMount)
	if err != nil {
		return "", err
	}
	most := 0
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err = poll(ctx, 20*time.Millisecond, "processes of pods to end", func() (bool, error) {
		groups, err := cgroupTree(roots)
		if err != nil {
			return false, err
		}
		killed, err := killCgroups(groups)
		most = max(most, killed)
		if err != nil {
			return false, err
		}
		busy, err := removeCgroups(groups)
		return !busy, err
	})
	return count(most, "process of pods", "processes of pods"), err
}

func removeMounts(context.Context) (string, error) {
	n, err := unmountAll()
	return count(n, "mount", "mounts"), err
}

func removeTables(ctx context.Context) (string, error) {
	if !fileExists("/usr/sbin/nft") {
		return "", nil
	}
	listing, err := exec.CommandContext(ctx, "nft", "list", "tables").Output()
	if err != nil {
		return "", fmt.Errorf("nft list tables: %w", err)
	}
	tables := presentTables(string(listing))
	for _, table := range tables {
		if err := runQuietly(ctx, "nft", append([]string{"delete", "table"}, strings.Fields(table)...)...); err != nil {
			return "", err
		}
	}
	return count(len(tables), "nft table", "nft tables"), nil
}

// removeBridge removes the bridge; the pods' interfaces went with their network namespaces.
func removeBridge(ctx context.Context) (string, error) {
	if !fileExists("/sys/class/net/" + bridge) {
		return "", nil
	}
	if err := runQuietly(ctx, "ip", "link", "delete", bridge); err != nil {
		return "", err
	}
	return "bridge " + bridge, forgetConnections(ctx)
}

func putBackSysctls(context.Context) (string, error) {
	changed, err := restoreSysctls()
	if len(changed) == 0 {
		return "", err
	}
	return "kernel settings put back: " + strings.Join(changed, " "), err
}

func removeFiles(context.Context) (string, error) {
	if err := removeOutside(); err != nil {
		return "", err
	}
	if !fileExists(Root) {
		return "", nil
	}
	// Something may still be mounted below Root. Deleting would empty it, so nothing is deleted until all is unmounted.
	left, err := mounts()
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("%s is still mounted", left[0])
	}
	return Root, os.RemoveAll(Root)
}

// removeOutside removes what components left outside Root, and the folders that are empty then.
func removeOutside() error {
	sockets, err := deadSockets(containerdSocketDir)
	if err != nil {
		return err
	}
	cached, err := cachedNetworks(cniCacheDir)
	if err != nil {
		return err
	}
	links, err := danglingInto(containerLogLinks, Root)
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(sockets, cached, links, []string{filepath.Join(devicePluginDir, "kubelet.sock"), filepath.Join(devicePluginDir, "DEPRECATION")}) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, dir := range []string{
		cniCacheDir, filepath.Dir(cniCacheDir), containerLogLinks, devicePluginDir, filepath.Dir(devicePluginDir),
		containerdSocketDir, filepath.Dir(containerdSocketDir),
	} {
		// Somebody else's files in it are reason enough to leave it.
		_ = os.Remove(dir)
	}
	return nil
}

// deadSockets lists the sockets in dir on which nobody listens: those of shims that were killed. Their names are hashes that say
// nothing of whose they were.
func deadSockets(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		connection, err := net.Dial("unix", path)
		if err == nil {
			connection.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			dead = append(dead, path)
		}
	}
	return dead, nil
}

// cachedNetworks lists the files the CNI library keeps of the cluster's pods: one for our network, and one for the loopback of the same pod.
func cachedNetworks(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, networkName+"-*-eth0"))
	if err != nil {
		return nil, err
	}
	for _, file := range slices.Clone(files) {
		pod := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), networkName+"-"), "-eth0")
		files = append(files, filepath.Join(dir, "cni-loopback-"+pod+"-lo"))
	}
	return files, nil
}

// danglingInto lists the symbolic links in dir that lead below root.
func danglingInto(dir, root string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var links []string
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, root+"/") {
			links = append(links, path)
		}
	}
	return links, nil
}

// count is "" for none, otherwise the number and its noun.
func count(n int, one, many string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + one
	default:
		return fmt.Sprintf("%d %s", n, many)
	}
}
