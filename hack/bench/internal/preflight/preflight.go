// Package preflight looks for what would spoil a measurement before one begins.
package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// clusterRoot is where the local cluster of hack/cluster keeps its state, and clusterVariable what it marks its processes with.
const (
	clusterRoot     = "/var/lib/refinery-cluster"
	clusterVariable = "REFINERY_CLUSTER_ROOT=" + clusterRoot
)

// kubernetes are the programs of a Kubernetes node: they are busy all the time, and make the kernel track every connection.
var kubernetes = []string{"kubelet", "kube-proxy"}

// Look returns an error that says what has to be stopped, and how, before anything can be measured; nil if nothing has to be. proc is the
// folder /proc, and connect makes and ends so many connections over loopback.
func Look(proc fs.FS, connect func(connections int) error) error {
	if err := lookForCluster(proc); err != nil {
		return err // What it leaves behind is looked for when it is gone.
	}
	return lookForTracking(proc, connect)
}

// lookForCluster looks for the local cluster, and for any other Kubernetes node.
func lookForCluster(proc fs.FS) error {
	processes, err := fs.ReadDir(proc, ".")
	if err != nil {
		return err
	}
	var nodes []string
	for _, process := range processes {
		if _, err := strconv.Atoi(process.Name()); err != nil {
			continue
		}
		// A process that has just ended has neither file.
		environment, _ := fs.ReadFile(proc, path.Join(process.Name(), "environ"))
		if slices.Contains(strings.Split(string(environment), "\x00"), clusterVariable) {
			return errors.New("the local cluster runs on this machine: stop it with make cluster-down (make demo-down if it came with make demo)")
		}
		command, _ := fs.ReadFile(proc, path.Join(process.Name(), "comm"))
		if program := strings.TrimSpace(string(command)); slices.Contains(kubernetes, program) {
			nodes = append(nodes, fmt.Sprintf("%s (process %s)", program, process.Name()))
		}
	}
	if len(nodes) > 0 {
		return fmt.Errorf("a Kubernetes node runs on this machine: stop %s first, or measure on another machine", strings.Join(nodes, " and "))
	}
	return nil
}

// Limits of connection tracking. The kernel remembers a connection for two minutes after it has ended, and the benchmark makes up to
// 30,000 a second.
const (
	neededEntries = 4_000_000
	trialSize     = 64
)

// lookForTracking looks whether connections over loopback would fill the kernel's table of connections. It then drops packets, and
// whoever dials waits in vain.
func lookForTracking(proc fs.FS, connect func(int) error) error {
	before, err := readNumber(proc, "sys/net/netfilter/nf_conntrack_count")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // This kernel tracks no connections.
	}
	if err != nil {
		return err
	}
	limit, err := readNumber(proc, "sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return err
	}
	const remedy = "stop what makes it do so (kube-proxy, Docker, a stateful firewall), or raise the limit: sysctl -w net.netfilter.nf_conntrack_max="
	if before > limit/2 {
		return fmt.Errorf("the kernel tracks connections, and its table is nearly full, with %d of %d entries: %s%d", before, limit, remedy, neededEntries)
	}
	if limit >= neededEntries {
		return nil
	}
	if err := connect(trialSize); err != nil {
		return fmt.Errorf("connect over loopback: %w", err)
	}
	after, err := readNumber(proc, "sys/net/netfilter/nf_conntrack_count")
	if err == nil && after >= before+trialSize {
		err = fmt.Errorf("the kernel tracks connections over loopback, and the benchmark would fill its table of %d entries: %s%d",
			limit, remedy, neededEntries)
	}
	return err
}

func readNumber(files fs.FS, name string) (int, error) {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// Connect makes so many connections over loopback, one after the other.
func Connect(connections int) (err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for range connections {
		dialed, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		accepted, err := l.Accept()
		if err != nil {
			return errors.Join(err, dialed.Close())
		}
		if err := errors.Join(dialed.Close(), accepted.Close()); err != nil {
			return err
		}
	}
	return nil
}
