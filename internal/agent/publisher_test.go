package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUpstreamFileIsWrittenOnlyWhenTheUpstreamChanges(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(directory, "upstream.json")
		p := newPublisher("press", file, discard())
		publish := func(upstream string) (os.FileInfo, Upstream) {
			t.Helper()
			if err := p.publish(1, upstream); err != nil {
				t.Fatal(err)
			}
			stat, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			u, err := readUpstream(file)
			if err != nil {
				t.Fatal(err)
			}
			return stat, u
		}
		began := time.Now().UTC()
		first, u := publish("east:1")
		if diff := cmp.Diff(Upstream{"east:1", "press", began}, u); diff != "" {
			t.Errorf("first (-want +got):\n%s", diff)
		}
		if first.Mode().Perm() != 0o644 {
			t.Errorf("mode %v: the workload's user cannot read it", first.Mode())
		}
		time.Sleep(time.Minute)
		if again, _ := publish("east:1"); !os.SameFile(first, again) {
			t.Error("written although nothing changed")
		}
		other, u := publish("west:1")
		if os.SameFile(first, other) {
			t.Error("written in place: a reader may see a part")
		}
		if diff := cmp.Diff(Upstream{"west:1", "press", began.Add(time.Minute)}, u); diff != "" {
			t.Errorf("second (-want +got):\n%s", diff)
		}
	})
}

func TestUpstreamFileThatIsDeletedComesBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upstream.json")
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher("press", file, discard())
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go p.keep(ctx)
		time.Sleep(pollInterval + time.Second)
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("before an upstream is granted: %v", err)
		}
		if err := p.publish(1, "east:1"); err != nil {
			t.Fatal(err)
		}
		before, _ := p.latest()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval + time.Second)
		if again, err := readUpstream(file); err != nil || again != before {
			t.Errorf("got %v and %v, want %v", again, err, before)
		}
	})
}

func TestUpstreamFileThatIsANamedPipeHoldsNothingUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upstream.json")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPublisher("press", file, discard())
	if err := p.publish(1, "east:1"); err != nil {
		t.Fatal(err)
	}
	if u, err := readUpstream(file); err != nil || u.Upstream != "east:1" {
		t.Errorf("got %v and %v", u, err)
	}
}

func TestUpstreamOutlivesTheAgentButNotTheNode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upstream.json")
	if err := newPublisher("press/a", file, discard()).publish(1, "east:1"); err != nil {
		t.Fatal(err)
	}
	if u, ok := newPublisher("press/a", file, discard()).latest(); !ok || u.Upstream != "east:1" {
		t.Errorf("the same node restarted: %v, %v", u, ok)
	}
	if u, ok := newPublisher("press/b", file, discard()).latest(); ok {
		t.Errorf("another node took it up: %v", u)
	}
	if err := os.WriteFile(file, []byte(`{"upstream":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if u, ok := newPublisher("press/a", file, discard()).latest(); ok {
		t.Errorf("half a file was taken up: %v", u)
	}
}

func TestReplacedSessionNoLongerSetsTheUpstream(t *testing.T) {
	p := newPublisher("press", "", discard())
	for _, step := range []struct {
		grant    func(uint64, string) error
		session  uint64
		upstream string
		want     string
	}{
		{p.publish, 1, "a:1", "a:1"},
		{p.adopt, 1, "a:1", "a:1"},
		{p.publish, 2, "b:1", "b:1"},
		{p.publish, 1, "c:1", "c:1"}, // session 2 may still fail
		{p.adopt, 2, "b:1", "b:1"},
		{p.publish, 1, "d:1", "b:1"},
		{p.publish, 2, "e:1", "e:1"},
	} {
		if err := step.grant(step.session, step.upstream); err != nil {
			t.Fatal(err)
		}
		if u, _ := p.latest(); u.Upstream != step.want {
			t.Errorf("after %q from session %d: %q, not %q", step.upstream, step.session, u.Upstream, step.want)
		}
	}
}

func TestFailedWriteKeepsTheFormerUpstream(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	p := newPublisher("press", filepath.Join(directory, "upstream.json"), discard())
	if err := p.publish(1, "a:1"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(directory); err != nil {
		t.Fatal(err)
	}
	if err := p.publish(1, "b:1"); !errors.Is(err, errUpstream) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if u, _ := p.latest(); u.Upstream != "a:1" {
		t.Errorf("GET /upstream says %q, and the file does not", u.Upstream)
	}
}
