package cluster

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountsUnderTheRootAreListedLatestFirst(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:5 / /var/lib/x/kubelet rw - ext4 /dev/vda rw
31 22 0:6 / /var/lib/xy/other rw - tmpfs tmpfs rw
32 30 0:7 / /var/lib/x/kubelet/pods/1/a\040b rw - tmpfs tmpfs rw
33 22 0:8 / /run/netns/cni-1 rw - nsfs nsfs rw
`
	want := []string{"/var/lib/x/kubelet/pods/1/a b", "/var/lib/x/kubelet"}
	if diff := cmp.Diff(want, mountsUnder(mountinfo, "/var/lib/x")); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestOnlyTablesOfTheClusterAreRemoved(t *testing.T) {
	const listing = "table ip filter\ntable ip kube-proxy\ntable ip6 kube-proxy\ntable inet kube-proxy\ntable inet refinery-cluster\n"
	want := []string{"ip kube-proxy", "ip6 kube-proxy", "inet refinery-cluster"}
	if diff := cmp.Diff(want, presentTables(listing)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func TestOnlyLogLinksIntoTheRootAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"ours": "/var/lib/x/pods/1/0.log", "theirs": "/var/log/pods/1/0.log", "near": "/var/lib/xy/1"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := danglingInto(dir, "/var/lib/x")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "ours")}, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

func TestTheLoopbackOfOurPodsAndNobodyElsesIsForgotten(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"refinery-cluster-abc-eth0", "cni-loopback-abc-lo", "cni-loopback-def-lo", "other-def-eth0"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := cachedNetworks(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "refinery-cluster-abc-eth0"), filepath.Join(dir, "cni-loopback-abc-lo")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestCgroupsAreListedDeepestFirst(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "kubepods", "pod1"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := cgroupTree([]string{root, filepath.Join(root, "absent")})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(root, "kubepods", "pod1"), filepath.Join(root, "kubepods"), root}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestPodCgroupsOfBothVersions(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	for _, controller := range []string{"cpu,cpuacct", "memory"} {
		if err := os.Mkdir(filepath.Join(v1, controller), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("cpu,cpuacct", filepath.Join(v1, "cpu")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v2, "cgroup.controllers"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mount, want := range map[string][]string{
		v1: {filepath.Join(v1, "cpu,cpuacct", cgroup), filepath.Join(v1, "memory", cgroup)},
		v2: {filepath.Join(v2, cgroup)},
	} {
		got, err := podCgroups(mount)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("groups (-want +got):\n%s", diff)
		}
	}
}

func TestOnlySocketsNobodyListensOnAreRemoved(t *testing.T) {
	dir := t.TempDir()
	alive, err := net.Listen("unix", filepath.Join(dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "dead")})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as when its process is killed
	dead.Close()
	got, err := deadSockets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "dead")}, got); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}
