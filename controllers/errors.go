package controllers

import (
	"context"
	"errors"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
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
	// silentRetry: nothing is wrong, the API server or the network was in the way. Not shown in status.
	silentRetry
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
type stalledError struct{ reason, message string }

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
		return outcome{stalled, stopped.reason, stopped.message, 0}
	case errors.As(err, &conflict):
		return outcome{stalled, v1alpha1.ReasonNameConflict, conflict.Error(), recheck}
	case errors.As(err, &template):
		return outcome{stalled, v1alpha1.ReasonInvalidTemplate, template.Message, 0}
	case errors.As(err, &schema):
		return outcome{stalled, v1alpha1.ReasonInvalidTemplate, schema.Error(), 0}
	case isTransient(err):
		return outcome{consequence: silentRetry}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return outcome{stalled, v1alpha1.ReasonRejected, err.Error(), rejectedRecheck}
	default:
		return outcome{consequence: retry, reason: v1alpha1.ReasonError, message: err.Error()}
	}
}

// isTransient tells errors that say nothing about what is wanted: conflicts, timeouts, an API server
// that is busy or away, a namespace that is going away.
func isTransient(err error) bool {
	var network net.Error
	return apierrors.IsConflict(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || errors.As(err, &network)
}
