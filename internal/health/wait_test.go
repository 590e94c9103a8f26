package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
)

// begin returns a wait whose log is counted.
func begin(lines *int) *Wait {
	log := funcr.New(func(string, string) { *lines++ }, funcr.Options{})
	return &Wait{Host: "https://example.com", Clock: clock.RealClock{}, Log: log}
}

func TestAWaitSaysForWhatOnceAndThenRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := 0
		w := begin(&lines)
		refused := errors.New("connection refused")
		answer := refused
		ended := make(chan error, 1)
		go func() {
			ended <- w.For(t.Context(), func(context.Context) error { return answer })
		}()
		after := func(d time.Duration, wantLines int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if why := w.Why(); !errors.Is(why, answer) || lines != wantLines {
				t.Fatalf("%d lines, want %d; waits for: %v", lines, wantLines, why)
			}
		}
		after(time.Minute, 1)
		after(logAgain, 2)
		answer = apierrors.NewForbidden(schema.GroupResource{Resource: "refineries"}, "", errors.New("not yet"))
		after(longestPause, 3)
		after(time.Minute, 3)
		answer = nil
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
			lines := 0
			got := begin(&lines).For(t.Context(), func(context.Context) error { return err })
			if got == nil || lines != 0 || name == "marked" && !errors.Is(got, missing) {
				t.Errorf("%v, %d lines", got, lines)
			}
		})
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	err := begin(&lines).For(ctx, func(context.Context) error { cancel(); return errors.New("away") })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
