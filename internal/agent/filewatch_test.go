package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// following is a store that follows a directory until the test ends.
func following(t *testing.T, directory string, edit func(*credentialStore)) (*credentialStore, *buffer) {
	t.Helper()
	log := &buffer{}
	s := newCredentialStore(credentialFiles{Config{Transport: MutualTLS, CertificateDir: directory}}, slog.New(slog.NewTextHandler(log, nil)), newMetrics(), fsnotify.NewWatcher)
	edit(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.watch(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, log
}

func (s *credentialStore) presents() string {
	if c, _ := s.current(); c != nil {
		return c.proof
	}
	return ""
}

func TestNewFilesAreNoticedLongBeforeThePoll(t *testing.T) {
	t.Parallel()
	ca, directory := newAuthority(t), t.TempDir()
	first := ca.issue(t)
	put(t, directory, first.files(ca))
	s, log := following(t, directory, func(s *credentialStore) { s.poll = time.Hour })
	eventually(t, "the first files are read", func() bool { return s.presents() == string(first.certificate) })
	for range 5 {
		next := ca.issue(t)
		put(t, directory, next.files(ca))
		eventually(t, "the next files are read", func() bool { return s.presents() == string(next.certificate) })
	}
	if text := log.String(); strings.Contains(text, "cannot") {
		t.Error(text)
	}
}

func TestNewFilesAreNoticedWhereNothingCanBeWatched(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]error{"no instance left": syscall.EMFILE, "no inotify": syscall.ENOSYS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, directory := newAuthority(t), t.TempDir()
			first, next := ca.issue(t), ca.issue(t)
			put(t, directory, first.files(ca))
			tries := make(chan struct{}, 1000)
			s, log := following(t, directory, func(s *credentialStore) {
				s.poll = 5 * time.Millisecond
				s.watched.open = func() (*fsnotify.Watcher, error) { tries <- struct{}{}; return nil, refused }
			})
			eventually(t, "the first files are read", func() bool { return s.presents() == string(first.certificate) })
			put(t, directory, next.files(ca))
			eventually(t, "the next files are read", func() bool { return s.presents() == string(next.certificate) })
			eventually(t, "it tries again", func() bool { return len(tries) > 2 })
			if got := log.count("cannot be watched"); got != 1 {
				t.Errorf("said %d times, not once:\n%s", got, log.String())
			}
		})
	}
}

func TestADirectoryIsWatchedThatComesLateOrIsMadeAnew(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "late")
	log := &buffer{}
	w := &fileWatch{directories: []string{directory}, log: slog.New(slog.NewTextHandler(log, nil)), open: fsnotify.NewWatcher}
	defer w.close()
	w.renew()
	for round := range 2 {
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a change is told", func() bool {
			w.renew()
			if err := os.WriteFile(filepath.Join(directory, "tls.crt"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			select {
			case e := <-w.events():
				return strings.HasSuffix(e.Name, "tls.crt") && e.Has(fsnotify.Write|fsnotify.Create)
			default:
				return false
			}
		})
		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
		for drained := false; !drained; {
			select {
			case e := <-w.events():
				drained = e.Name == directory && e.Has(fsnotify.Remove)
			case <-time.After(patience):
				t.Fatalf("round %d: that it is gone is not told", round)
			}
		}
	}
	if text := log.String(); text != "" {
		t.Error(text)
	}
}
