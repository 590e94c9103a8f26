package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// procFolder makes a /proc with the given environments, by pid.
func procFolder(t *testing.T, environments map[string][]string) string {
	t.Helper()
	proc := t.TempDir()
	for pid, environ := range environments {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		content := strings.Join(environ, "\x00") + "\x00"
		if err := os.WriteFile(filepath.Join(proc, pid, "environ"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/opt/"+pid+"-program", filepath.Join(proc, pid, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestRunningFindsOnlyProcessesWithTheMarkerOfTheRoot(t *testing.T) {
	proc := procFolder(t, map[string][]string{
		"10":   {"PATH=/bin", "REFINERY_CLUSTER_ROOT=/var/lib/x", "REFINERY_CLUSTER_PART=etcd"},
		"11":   {"REFINERY_CLUSTER_ROOT=/var/lib/xy", "REFINERY_CLUSTER_PART=etcd"}, // another cluster
		"12":   {"NOTE=REFINERY_CLUSTER_ROOT=/var/lib/x", "REFINERY_CLUSTER_PART=etcd"},
		"13":   {""}, // waits to be reaped
		"14":   {"KUBECONFIG=/var/lib/x/kubeconfig"},
		"self": {"REFINERY_CLUSTER_ROOT=/var/lib/x"},
	})
	got, err := running(proc, "/var/lib/x")
	if err != nil {
		t.Fatal(err)
	}
	want := []process{{pid: 10, part: "etcd", program: "10-program"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(process{})); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}

func TestAChildOfAComponentIsNotTheComponent(t *testing.T) {
	shim := process{pid: 1, part: containerd, program: "containerd-shim-runc-v2"}
	if found, ok := findComponent([]process{shim}, containerd); ok {
		t.Errorf("took %+v for containerd", found)
	}
	self := process{pid: 2, part: containerd, program: containerd}
	if found, ok := findComponent([]process{shim, self}, containerd); !ok || found != self {
		t.Errorf("found %+v, %v; want %+v", found, ok, self)
	}
}

func TestWhatWouldReactStopsFirst(t *testing.T) {
	shim := process{pid: 1, part: containerd, program: "containerd-shim-runc-v2"}
	store := process{pid: 2, part: etcd, program: etcd}
	runtime := process{pid: 3, part: containerd, program: containerd}
	node := process{pid: 4, part: kubelet, program: kubelet}
	got := stopOrder([]process{shim, store, runtime, node})
	if diff := cmp.Diff([]process{node, runtime, shim, store}, got, cmp.AllowUnexported(process{})); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// startCat runs cat with the variables as its environment, until the test ends. It has begun when startCat returns.
func startCat(t *testing.T, environ ...string) *exec.Cmd {
	t.Helper()
	cat := exec.Command("cat")
	cat.Env = environ
	stdin, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	stdout, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	// Until exec is through, the kernel shows no environment.
	if _, err := stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cat
}

func TestAPidThatNowBelongsToAnotherProcessIsNotKilled(t *testing.T) {
	stranger := startCat(t)
	// The record says etcd, the number is cat's by now.
	if err := (process{pid: stranger.Process.Pid, part: etcd}).kill(stopTimeout); err != nil {
		t.Errorf("kill: %v", err)
	}
	// It can still be ended by what only a living process reacts to.
	if err := stranger.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("the stranger ended with %v, want signal: terminated", err)
	}
}

func TestAProcessOfTheClusterIsKilledAndWaitedFor(t *testing.T) {
	ours := startCat(t, rootVariable+"="+Root, partVariable+"=test")
	if err := (process{pid: ours.Process.Pid, part: "test"}).kill(stopTimeout); err != nil {
		t.Fatalf("kill: %v", err)
	}
	if _, ok := partOf("/proc", Root, ours.Process.Pid); ok {
		t.Error("it runs after kill returned")
	}
	_ = ours.Process.Kill() // a failed test must not wait for ever
	if err := ours.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("ended with %v, want signal: killed", err)
	}
}
