package reconcile

import (
	"context"
	"errors"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// After a refusal by the API server it is tried again, at first soon and then less and less often: quotas, policies and
// permissions change without a word to the operator, and permissions that are new take effect a moment later.
const (
	firstRejectedRecheck   = 5 * time.Second
	longestRejectedRecheck = time.Minute
)

// pendingRecheck is how soon to look again at an orphan that is about to change. Nobody is told of that, since it has no owner.
const pendingRecheck = 2 * time.Second

// Consequence is what follows from an error.
type Consequence int

const (
	// CarriedOut is no error.
	CarriedOut Consequence = iota
	// SilentRetry means: nothing is wrong, something else changed meanwhile. Not shown in status.
	SilentRetry
	// Away means: the API server or the network was in the way. Tried again with backoff, and shown in status when
	// it stays so.
	Away
	// Retry means: something failed that is tried again with backoff.
	Retry
	// Wait means: something has to happen first that the operator watches for.
	Wait
	// Stalled means: nothing gets better until a person changes something.
	Stalled
)

// Outcome is how a pass ended, as status shows it.
type Outcome struct {
	Consequence     Consequence
	Reason, Message string
	// Recheck is when to look again although nothing was seen to change. 0: never.
	Recheck time.Duration
}

// WaitError ends a pass until something else has happened.
type WaitError struct {
	Reason, Message string
	Recheck         time.Duration
}

// Error says what is waited for.
func (e *WaitError) Error() string { return e.Message }

// StalledError ends a pass until a person changes the spec.
type StalledError struct {
	Reason, Message string
	Recheck         time.Duration
}

// Error says what is to be changed.
func (e *StalledError) Error() string { return e.Message }

// OutcomeOf returns the outcome that follows from an error. recheck is how soon to look again for an object that
// someone else has to remove.
func OutcomeOf(err error, recheck time.Duration) Outcome {
	var (
		waiting  *WaitError
		stopped  *StalledError
		conflict *apply.ConflictError
		template *resource.TemplateError
		schema   *apply.SchemaError
		pending  *apply.PendingError
		contest  *apply.ContestedError
	)
	switch {
	case err == nil:
		return Outcome{}
	case errors.As(err, &waiting):
		return Outcome{Wait, waiting.Reason, waiting.Message, waiting.Recheck}
	case errors.As(err, &stopped):
		return Outcome{Stalled, stopped.Reason, stopped.Message, stopped.Recheck}
	case errors.As(err, &conflict):
		return Outcome{Stalled, v1alpha1.ReasonNameConflict, conflict.Error(), recheck}
	case errors.As(err, &contest):
		return Outcome{Stalled, v1alpha1.ReasonContested, contest.Error(), contest.Recheck}
	case errors.As(err, &pending):
		return Outcome{Wait, v1alpha1.ReasonProgressing, pending.Message, pendingRecheck}
	case errors.As(err, &template):
		return Outcome{Stalled, v1alpha1.ReasonInvalidTemplate, template.Message, 0}
	case errors.As(err, &schema):
		return Outcome{Stalled, v1alpha1.ReasonInvalidTemplate, schema.Error(), 0}
	case isOvertaken(err):
		return Outcome{Consequence: SilentRetry}
	case isAway(err):
		return Outcome{Consequence: Away, Reason: v1alpha1.ReasonError, Message: awayMessage(err)}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return Outcome{Stalled, v1alpha1.ReasonRejected, err.Error() + "; the operator tries again at least once a minute", longestRejectedRecheck}
	default:
		return Outcome{Consequence: Retry, Reason: v1alpha1.ReasonError, Message: err.Error()}
	}
}

// awayMessage returns the API server's answer. If there was none, the message is ours: an error of the network names a
// local port, which differs with each attempt.
func awayMessage(err error) string {
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		return "the API server does not answer; trying again"
	}
	return err.Error()
}

// Silent reports whether status does not show the outcome.
func (o Outcome) Silent() bool { return o.Consequence == SilentRetry || o.Consequence == Away }

// ErrTooEarly reports that something is not known yet that is about to be.
var ErrTooEarly = errors.New("it is not known yet")

// isOvertaken reports whether the pass worked on a state that has changed: a conflict, a namespace that is being
// deleted, an operator that is stopping, or something that is not known yet.
func isOvertaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || errors.Is(err, context.Canceled) ||
		errors.Is(err, ErrTooEarly)
}

// isAway reports whether the API server is busy or cannot be reached. An internal error does not count: the API server
// returns it if an admission webhook fails, until someone repairs that.
func isAway(err error) bool {
	var network net.Error
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		errors.Is(err, context.DeadlineExceeded) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || errors.As(err, &network)
}
