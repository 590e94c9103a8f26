package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fsnotify/fsnotify"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newLoop is a loop without TLS that dials with dial and always waits for the longest time allowed.
func newLoop(t *testing.T, dial DialFunc, log *slog.Logger) *loop {
	t.Helper()
	directory := t.TempDir()
	shared := filepath.Join(directory, "certificate")
	if err := os.WriteFile(shared, []byte("the shared certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{Settings: masterfile.Settings{Address: "alpha.plant.svc:34308", AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second},
		Transport: Plaintext, ID: "press", Type: "refinery", Version: "0.1.0", SharedCertificateFile: shared, MaxBackoff: backoff.DefaultMax}
	m := newMetrics()
	store := newCredentialStore(credentialFiles{config}, log, m, fsnotify.NewWatcher)
	store.look()
	return &loop{
		connector:   &connector{config: config, dial: dial, publisher: newPublisher("press", "", log), loads: &loads{}},
		credentials: store, readiness: &readiness{}, metrics: m, log: log,
		retry:    &backoff.Schedule{Max: backoff.DefaultMax, Uniform: func(limit time.Duration) time.Duration { return limit }},
		failures: failureLog{log: log, message: "not authenticated"},
	}
}

func TestAMasterThatIsNotReachedIsTriedEveryTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []string
		log := &buffer{}
		l := newLoop(t, func(context.Context, string, string) (net.Conn, error) {
			at = append(at, time.Since(began).String())
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}, slog.New(slog.NewTextHandler(log, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		l.run(ctx)

		want := []string{"0s", "500ms", "1.5s", "3.5s", "5.5s", "7.5s"}
		if diff := cmp.Diff(want, at[:len(want)]); diff != "" {
			t.Errorf("dials (-want +got):\n%s", diff)
		}
		if got := log.count("not authenticated"); got != 2 { // at once, and after a minute
			t.Errorf("the failure was logged %d times, not twice:\n%s", got, log)
		}
	})
}

func TestOtherCredentialsEndTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []string
		l := newLoop(t, func(context.Context, string, string) (net.Conn, error) {
			at = append(at, time.Since(began).String())
			return nil, errors.New("down")
		}, discard())
		ctx, cancel := context.WithTimeout(t.Context(), 17*time.Second)
		defer cancel()
		go func() {
			time.Sleep(16 * time.Second) // in the middle of the wait that began at 15.5 s
			l.credentials.changes <- struct{}{}
		}()
		l.run(ctx)
		want := []string{"0s", "500ms", "1.5s", "3.5s", "5.5s", "7.5s", "9.5s", "11.5s", "13.5s", "15.5s", "16s", "16.5s"}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("dials (-want +got):\n%s", diff)
		}
	})
}

func TestOnlyASessionThatLivedMakesUpForFailures(t *testing.T) {
	lost := errors.New("connection reset by peer")
	for _, test := range []struct {
		name     string
		lasted   time.Duration
		cause    error
		delay    time.Duration
		failures int
	}{
		{"orderly end of a session that lived", time.Minute, protocol.ErrPeerClosed, 0, 0},
		{"end of a session that lived, without conn:close", time.Minute, protocol.ErrPeerGone, backoff.Base, 1},
		{"loss of a session that lived", time.Minute, lost, backoff.Base, 1},
		{"silence in a session that lived", time.Minute, protocol.ErrAliveTimeout, backoff.Base, 1},
		{"orderly end at once", time.Second, protocol.ErrPeerClosed, 8 * time.Second, 5},
		{"loss at once", time.Second, lost, 8 * time.Second, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLoop(t, nil, discard())
				l.retry.Failures = 4
				s := &session{credentials: l.credentials.usable, began: time.Now()}
				time.Sleep(test.lasted)
				delay := l.ended(t.Context(), s, test.cause)
				if diff := cmp.Diff([]any{test.delay, test.failures}, []any{delay, l.retry.Failures}); diff != "" {
					t.Errorf("delay and failures (-want +got):\n%s", diff)
				}
			})
		})
	}
}
