package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
)

// begin returns a wait whose log is counted.
func begin(lines *atomic.Int32) *Wait {
	log := funcr.New(func(string, string) { lines.Add(1) }, funcr.Options{})
	return &Wait{Host: "https://example.com", Clock: clock.RealClock{}, Log: log}
}

func TestAWaitSaysForWhatOnceAndThenRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines atomic.Int32
		var answer atomic.Pointer[error]
		w := begin(&lines)
		answers := func(err error) { answer.Store(&err) }
		answers(errors.New("connection refused"))
		ended := make(chan error, 1)
		go func() {
			ended <- w.For(t.Context(), func(context.Context) error { return *answer.Load() })
		}()
		after := func(d time.Duration, wantLines int32) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if why := w.Why(); !errors.Is(why, *answer.Load()) || lines.Load() != wantLines {
				t.Fatalf("%d lines, want %d; waits for: %v", lines.Load(), wantLines, why)
			}
		}
		after(time.Minute, 1)
		after(logAgain, 2)
		answers(apierrors.NewForbidden(schema.GroupResource{Resource: "refineries"}, "", errors.New("not yet")))
		after(longestPause, 3)
		after(time.Minute, 3)
		answers(nil)
		if err := <-ended; err != nil || w.Why() != nil {
			t.Errorf("%v; waits for %v", err, w.Why())
		}
	})
}

func TestAWaitEndsWithWhatWaitingDoesNotMend(t *testing.T) {
	missing := errors.New("it does not exist")
	for name, err := range map[string]error{
		"marked":               Final(missing),
		"an unknown authority": &url.Error{Op: "Get", URL: "https://example.com", Err: fmt.Errorf("tls: %w", x509.UnknownAuthorityError{})},
	} {
		t.Run(name, func(t *testing.T) {
			var lines atomic.Int32
			got := begin(&lines).For(t.Context(), func(context.Context) error { return err })
			if got == nil || lines.Load() != 0 || name == "marked" && !errors.Is(got, missing) {
				t.Errorf("%v, %d lines", got, lines.Load())
			}
		})
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var lines atomic.Int32
	err := begin(&lines).For(ctx, func(context.Context) error { cancel(); return errors.New("away") })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
