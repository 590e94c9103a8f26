// Package pki issues, parses and verifies certificates of authorities, masters and nodes.
// It does not talk to Kubernetes; the caller passes PEM and the time.
//
// Whatever is wrong with a certificate comes back as a *Problem, whose reason is one of those of
// condition CertificateReady. No error ever carries key material.
package pki

import (
	"errors"
	"fmt"
	"time"
)

// Backdating lets a certificate be valid on machines whose clock is behind.
const Backdating = 5 * time.Minute

// Problem says why a certificate, key or authority is not valid, in words a person can act on.
type Problem struct {
	// Reason is a reason of condition CertificateReady.
	Reason string
	// Message says what is wrong and what to do. It holds no key material and no timestamps of the moment.
	Message string
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// AsProblem returns the Problem in err's chain, or nil.
func AsProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

func problemf(reason, format string, args ...any) error {
	return &Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
