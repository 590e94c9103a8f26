// Package controllers reconciles ClusterMasters and Refineries into the objects they own.
//
// Every pass reads a scope, runs an ordered list of steps over it, and ends with one write of the
// status, if it differs, and the events of what changed in it. Whatever a step needs that is not there
// yet comes back as an error typed by its consequence: retry, wait, or stalled.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// Environment is what the reconcilers of both kinds work with.
type Environment struct {
	// Client reads from the cache, which holds owned objects by the operator's label only, and writes.
	Client client.Client
	// Live reads from the API server: Secrets that a CR names, and what may stand in the way.
	Live client.Reader
	// Secrets watches the metadata of all Secrets, so that changes of those that a CR names are noticed.
	Secrets cache.Cache
	// CertManager reports whether the cluster has it. Nil: it has not.
	CertManager *CertManager
	// Events records events on the CRs.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Metrics are told what the passes find.
	Metrics *Metrics
	// Images of the pods.
	Images resource.Images
	// Recheck is how long after an object of someone else was found in the way it is looked for again.
	Recheck time.Duration
}

// now has the resolution of the API, so that what is computed equals what is read back.
func (e *Environment) now() time.Time { return e.Clock.Now().UTC().Truncate(time.Second) }

// namedSecret reads a Secret that a CR names. One that does not exist is a *pki.Problem.
func (e *Environment) namedSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := e.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, &pki.Problem{
			Reason:  v1alpha1.ReasonSecretNotFound,
			Message: fmt.Sprintf("Secret %s does not exist; create it, and all goes on by itself", name),
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, nil
}

// errAuthorityNotMade reports that the operator's own authority of a master does not exist yet.
var errAuthorityNotMade = errors.New("the certificate authority is not made yet")

// authority reads the certificate authority of a master: the one its spec names, the issuer's, or the operator's own.
// What is wrong with it is a *pki.Problem, which names the Secret, or errAuthorityNotMade.
func (e *Environment) authority(ctx context.Context, a *apply.Applier, m *v1alpha1.ClusterMaster) (*pki.Authority, error) {
	if m.Issuer() != nil {
		return e.issuersAuthority(ctx, m)
	}
	var authority *pki.Authority
	if name, ok := m.NamedAuthority(); ok {
		secret, err := e.namedSecret(ctx, m.Namespace, name)
		if err != nil {
			return nil, err
		}
		authority, err = pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], e.Clock.Now())
		if err != nil {
			return nil, inSecret(name, err)
		}
	} else {
		secret := &corev1.Secret{}
		secret.Namespace, secret.Name = m.Namespace, m.AuthoritySecretName()
		found, err := a.Read(ctx, m, secret)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, errAuthorityNotMade
		}
		files, record := resource.ReadMasterAuthority(secret)
		if authority, err = files.Parse(e.Clock.Now()); err != nil {
			return nil, inSecret(secret.Name, err)
		}
		authority.Since = record.Began
	}
	authority.LeafDuration = m.CertificatePeriods().Duration
	return authority, e.retain(ctx, a, m, authority)
}

// retain has authority go on trusting those before it.
func (e *Environment) retain(ctx context.Context, a *apply.Applier, m *v1alpha1.ClusterMaster, authority *pki.Authority) error {
	served, err := e.served(ctx, a, m)
	if err == nil {
		rotation.Retain(authority, m, served, e.Clock.Now())
	}
	return err
}

// inSecret puts the name of the Secret in front of a Problem.
func inSecret(name string, err error) error {
	if p := pki.AsProblem(err); p != nil {
		return &pki.Problem{Reason: p.Reason, Message: fmt.Sprintf("Secret %s: %s", name, p.Message)}
	}
	return err
}

// newCondition leaves generation and time to setCondition.
func newCondition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}
