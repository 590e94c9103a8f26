package controllers

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
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// rejectedRecheck is how long after a refusal by the API server it is tried again: quotas and
// permissions change without a word to the operator.
const rejectedRecheck = 5 * time.Minute

// consequence is what follows from an error.
type consequence int

const (
	// carriedOut: no error.
	carriedOut consequence = iota
	// silentRetry: nothing is wrong, something else changed meanwhile. Not shown in status.
	silentRetry
	// away: the API server or the network was in the way. Tried again with backoff, and shown in status when
	// it stays so.
	away
	// retry: something failed that is tried again with backoff.
	retry
	// wait: something has to happen first that the operator watches for.
	wait
	// stalled: nothing gets better until a person changes something.
	stalled
)

// outcome is how a pass ended, as status shows it.
type outcome struct {
	consequence     consequence
	reason, message string
	// recheck is when to look again although nothing was seen to change. 0: never.
	recheck time.Duration
}

// waitError ends a pass until something else has happened.
type waitError struct {
	reason, message string
	recheck         time.Duration
}

func (e *waitError) Error() string { return e.message }

// stalledError ends a pass until a person changes the spec.
type stalledError struct {
	reason, message string
	recheck         time.Duration
}

func (e *stalledError) Error() string { return e.message }

// outcomeOf types an error by its consequence. recheck is the Environment's.
func outcomeOf(err error, recheck time.Duration) outcome {
	var (
		waiting  *waitError
		stopped  *stalledError
		conflict *apply.ConflictError
		template *resource.TemplateError
		schema   *apply.SchemaError
	)
	switch {
	case err == nil:
		return outcome{}
	case errors.As(err, &waiting):
		return outcome{wait, waiting.reason, waiting.message, waiting.recheck}
	case errors.As(err, &stopped):
		return outcome{stalled, stopped.reason, stopped.message, stopped.recheck}
	case errors.As(err, &conflict):
		return outcome{stalled, v1alpha1.ReasonNameConflict, conflict.Error(), recheck}
	case errors.As(err, &template):
		return outcome{stalled, v1alpha1.ReasonInvalidTemplate, template.Message, 0}
	case errors.As(err, &schema):
		return outcome{stalled, v1alpha1.ReasonInvalidTemplate, schema.Error(), 0}
	case isOvertaken(err):
		return outcome{consequence: silentRetry}
	case isAway(err):
		return outcome{consequence: away, reason: v1alpha1.ReasonError, message: awayMessage(err)}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return outcome{stalled, v1alpha1.ReasonRejected, err.Error(), rejectedRecheck}
	default:
		return outcome{consequence: retry, reason: v1alpha1.ReasonError, message: err.Error()}
	}
}

// awayMessage is the API server's words, or ours if it had none: those of the network name a local port,
// another one with each try.
func awayMessage(err error) string {
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		return "the API server does not answer; it is tried again"
	}
	return err.Error()
}

// silent reports whether status is to show nothing of it.
func (o outcome) silent() bool { return o.consequence == silentRetry || o.consequence == away }

// isOvertaken tells errors of a world that has moved on: a conflict, a namespace that is going away, an
// operator that is.
func isOvertaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || errors.Is(err, context.Canceled) ||
		errors.Is(err, certificates.ErrNotAsked)
}

// isAway tells errors of an API server that is busy or not to be reached. An internal error is none of
// them: it is the answer to an admission webhook that fails, and stays until someone mends that.
func isAway(err error) bool {
	var network net.Error
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		errors.Is(err, context.DeadlineExceeded) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || errors.As(err, &network)
}
