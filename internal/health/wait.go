package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

const (
	// firstPause and longestPause bound the time between two tries. The longest is short: a whole cluster that is switched on
	// again waits for this.
	firstPause   = 500 * time.Millisecond
	longestPause = 3 * time.Second
	// tryTimeout bounds one try.
	tryTimeout = 10 * time.Second
	// logAgain is how often the log repeats what is waited for.
	logAgain = 5 * time.Minute
)

// Wait is a wait for the API server at the start of a process.
type Wait struct {
	// Host of the API server.
	Host  string
	Clock clock.Clock
	Log   logr.Logger

	mu  sync.Mutex
	why error
}

// final is an error that waiting does not mend.
type final struct{ error }

// Unwrap returns the error itself.
func (f final) Unwrap() error { return f.error }

// Final marks an error that waiting does not mend.
func Final(err error) error { return final{err} }

// For tries until it succeeds, fails with a Final error, or ctx is done. It also gives up where the API server's certificate
// is by an unknown authority: a process reads at its start which authorities to trust, so that only another start can change
// that. Everything else can change while it waits. So can a missing permission, which someone grants, or which an API server
// that has just started has not read yet.
func (w *Wait) For(ctx context.Context, try func(ctx context.Context) error) error {
	defer w.set(nil)
	var (
		logged   time.Time
		loggedAs metav1.StatusReason
	)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := w.once(ctx, try)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if marked, ok := errors.AsType[final](err); ok {
			return marked.error
		}
		err = fmt.Errorf("the API server at %s cannot be used yet: %w", w.Host, err)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			return err
		}
		w.set(err)
		if as := apierrors.ReasonForError(err); logged.IsZero() || as != loggedAs || w.Clock.Since(logged) >= logAgain {
			w.Log.Info("waiting for the API server", "reason", err.Error())
			logged, loggedAs = w.Clock.Now(), as
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.Clock.After(pause):
		}
	}
}

func (w *Wait) once(ctx context.Context, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return try(ctx)
}

// Why returns what is waited for, or nil while nothing is.
func (w *Wait) Why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

func (w *Wait) set(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why = why
}
