package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestANodeWithoutASessionStaysReadyForItsGrace(t *testing.T) {
	const forGood = 2 * time.Minute // as long as the test looks
	lost := errors.New("connection reset by peer")
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
	for name, test := range map[string]struct {
		grace time.Duration
		// life is how long the certificate is valid yet; 0: there is none.
		life  time.Duration
		cause error
		// gone is after how long the upstream takes no connection any more; 0: never.
		gone time.Duration
		// then happens 7 s after the session was lost.
		then func(context.Context, *loop)
		want time.Duration
	}{
		"for all of it":                 {grace: 35 * time.Second, cause: lost, want: 35 * time.Second},
		"none":                          {cause: lost, want: 0},
		"until the certificate ends":    {grace: 35 * time.Second, life: 12 * time.Second, cause: lost, want: 12 * time.Second},
		"not when it has ended":         {grace: 35 * time.Second, life: -time.Second, cause: lost, want: 0},
		"until the upstream is gone":    {grace: 35 * time.Second, cause: lost, gone: 11 * time.Second, want: 15 * time.Second},
		"after an orderly end, too":     {grace: 35 * time.Second, cause: protocol.ErrPeerClosed, want: 35 * time.Second},
		"not when it was denied":        {grace: 35 * time.Second, cause: protocol.ErrDenied, want: 0},
		"not when TLS has refused it":   {grace: 35 * time.Second, cause: alert, want: 0},
		"until it is denied":            {grace: 35 * time.Second, cause: lost, then: fails(protocol.ErrDenied), want: 7 * time.Second},
		"until TLS refuses it":          {grace: 35 * time.Second, cause: lost, then: fails(alert), want: 7 * time.Second},
		"although an attempt fails":     {grace: 35 * time.Second, cause: lost, then: fails(lost), want: 35 * time.Second},
		"for good once it is back":      {grace: 35 * time.Second, cause: lost, then: returns, want: forGood},
		"whatever the upstream is then": {grace: 35 * time.Second, cause: lost, gone: 9 * time.Second, then: returns, want: forGood},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				l := newLoop(t, func(context.Context, string, string) (net.Conn, error) {
					if test.gone != 0 && time.Since(began) >= test.gone {
						return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
					}
					conn, other := net.Pipe()
					return conn, other.Close()
				}, discard())
				l.config.ReadinessGrace = test.grace
				creds := &credentials{}
				if test.life != 0 {
					creds.notAfter = began.Add(test.life)
				}
				ctx, cancel := context.WithCancel(t.Context())
				if test.then != nil {
					time.AfterFunc(7*time.Second, func() { test.then(ctx, l) })
				}
				if got, detail := readyFor(ctx, t, l, creds, test.cause, forGood); got != test.want {
					t.Errorf("ready for %s, want %s: %s", got, test.want, detail)
				}
				cancel()
				l.running.Wait()
			})
		})
	}
}

// readyFor loses a session, and returns for how long the node stays ready, at most for limit, and what its probe says then.
func readyFor(ctx context.Context, t *testing.T, l *loop, creds *credentials, cause error, limit time.Duration) (time.Duration, string) {
	t.Helper()
	began := time.Now()
	if err := l.publisher.publish(1, "ingest.example.com:34307"); err != nil {
		t.Fatal(err)
	}
	l.readiness.set(true, "press")
	l.lose(ctx, &session{credentials: creds, began: began}, cause)
	for range time.Tick(time.Second) {
		synctest.Wait()
		ready, detail, since := l.readiness.get()
		switch {
		case !ready:
			return since.Sub(began), detail
		case time.Since(began) >= limit:
			return limit, detail
		}
	}
	return 0, ""
}

func fails(err error) func(context.Context, *loop) {
	return func(ctx context.Context, l *loop) { l.failed(ctx, nil, err) }
}

func returns(_ context.Context, l *loop) { l.readiness.set(true, "press") }

func TestProbeSaysUntilWhenANodeIsReadyWithoutASession(t *testing.T) {
	r := &readiness{}
	r.set(true, "press at alpha")
	r.lose("the session ended: gone", time.Now().Add(time.Hour))
	ready, detail, _ := r.get()
	if !ready || !strings.HasPrefix(detail, "not authenticated, ready until ") || !strings.HasSuffix(detail, " all the same: the session ended: gone") {
		t.Errorf("%v: %s", ready, detail)
	}
}

func TestGraceIsTheAliveTimeoutAtMostAMinuteUnlessGiven(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "certificate")
	if err := os.WriteFile(shared, []byte("the shared certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	given := []string{"--address=localhost:1", "--id=press", "--transport=Plaintext", "--shared-certificate-file=" + shared, "--upstream-file="}
	for flags, want := range map[string]time.Duration{
		"":                        35 * time.Second,
		"--alive-timeout=5m":      time.Minute,
		"--readiness-grace=0s":    0,
		"--readiness-grace=1m30s": 90 * time.Second,
	} {
		c, err := ParseFlags(append(slices.Clone(given), strings.Fields(flags)...))
		l := &loop{connector: &connector{config: c}}
		if got := l.grace(&credentials{master: c.Settings}); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", flags, got, err, want)
		}
	}
	var got []string
	for _, value := range []string{"-1ns", "soon", "11m"} {
		if c, err := ParseFlags(append(slices.Clone(given), "--readiness-grace="+value)); err == nil {
			t.Errorf("%s is taken as %s", value, c.ReadinessGrace)
		} else {
			got = append(got, err.Error())
		}
	}
	want := []string{
		"--readiness-grace=-1ns: write a duration, such as 30s",
		"--readiness-grace=soon: write a duration, such as 30s",
		"--readiness-grace=11m0s: write a duration from 0s to 10m0s, for example --readiness-grace=30s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is refused (-want +got):\n%s", diff)
	}
}
