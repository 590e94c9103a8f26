package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// A certificate expires, too, while its object is paused, or while something else in the spec keeps a pass from coming
// to it. What is in this file tells of that: it only reads.

// lookAtCertificate tells what the certificate of the nodes is worth. What is let in stays as it is listed.
func (r *RefineryReconciler) lookAtCertificate(ctx context.Context, s *refineryScope) error {
	if s.master == nil || s.master.Spec.Security.Transport == v1alpha1.TransportPlaintext {
		return nil
	}
	name := s.refinery.CertificateSecretName()
	h, err := r.verifyNamed(ctx, s, name)
	if _, early := errors.AsType[*waitError](err); early {
		return nil // the ClusterMaster has just been made
	}
	issuer := s.master.Issuer()
	switch p := pki.AsProblem(err); {
	case p != nil:
		s.foundWrong(h.leaf(), p.Reason, p.Message)
	case err != nil:
		return err
	case s.refinery.Spec.CertificateSecretRef != nil:
		s.found(h.leaf(), v1alpha1.ReasonProvided, providedIn(name))
	case issuer != nil:
		s.found(h.leaf(), v1alpha1.ReasonIssued, issuedBy(name, *issuer))
	default:
		s.found(h.leaf(), v1alpha1.ReasonIssued, issuedByOperator(name))
	}
	s.certificate.looked = true
	if s.refinery.Spec.CertificateSecretRef != nil {
		s.certificate.secret, s.certificate.secretUID = name, h.uid
	}
	if h.leaf() != nil {
		s.inUse(h)
	}
	return nil
}

// lookAtCertificate tells what the authority and the certificate that the master serves are worth.
func (r *ClusterMasterReconciler) lookAtCertificate(ctx context.Context, s *masterScope) error {
	s.certificate = &certificateFound{looked: true}
	if made, err := r.findAuthority(ctx, s); err != nil || !made {
		return err
	}
	h, err := r.readServed(ctx, s)
	name, issuer := s.master.CertificateSecretName(), s.master.Issuer()
	if err == nil && s.authority != nil {
		err = s.authority.VerifyServer(h.chain, resource.MasterDNSNames(s.master), r.Clock.Now())
	}
	switch p := pki.AsProblem(inSecret(name, err)); {
	case p != nil:
		s.foundWrong(p.Reason, p.Message)
	case err != nil:
		return err
	case s.authority == nil: // which was told
	case issuer != nil:
		s.found(v1alpha1.ReasonIssued, issuedBy(name, *issuer))
	case s.authority.Key == nil:
		s.found(v1alpha1.ReasonProvided, providedIn(name))
	default:
		s.found(v1alpha1.ReasonIssued, issuedByOperator(name))
	}
	if h.leaf() != nil {
		s.agenda.atFuture(h.leaf().NotAfter.Add(time.Second), s.now)
	}
	return nil
}

// readServed reads what the master serves. What is wrong is a *pki.Problem.
func (r *ClusterMasterReconciler) readServed(ctx context.Context, s *masterScope) (held, error) {
	secret, err := r.namedSecret(ctx, s.master.Namespace, s.master.CertificateSecretName())
	if err != nil {
		return held{}, err
	}
	h, err := parseHeld(secret)
	s.certificate.leaf = h.leaf()
	return h, err
}

// lookAtExpired finds out since when an authority that is no good has been, for what measures it.
func (r *ClusterMasterReconciler) lookAtExpired(ctx context.Context, s *masterScope) error {
	name, key := s.master.AuthoritySecretName(), corev1.TLSCertKey
	if named, ok := s.master.NamedAuthority(); ok {
		name = named
	} else if s.master.Issuer() != nil {
		name, key = s.master.CertificateSecretName(), v1alpha1.AuthorityKey
	}
	secret, err := r.namedSecret(ctx, s.master.Namespace, name)
	if pki.AsProblem(err) != nil {
		return nil
	}
	if err != nil {
		return err
	}
	s.noteEnd(key, secret.Data[key])
	return nil
}

// noteEnd takes the end of an authority, whatever else is wrong with it.
func (s *masterScope) noteEnd(key string, value []byte) {
	if chain, err := pki.ParseCertificates(key, value); err == nil {
		s.authorityEnd = chain[0].NotAfter
	}
}

func issuedByOperator(secret string) string {
	return fmt.Sprintf("Secret %s holds a certificate issued by the operator", secret)
}

func issuedBy(secret string, issuer v1alpha1.IssuerReference) string {
	return fmt.Sprintf("Secret %s holds a certificate issued by %s %s", secret, issuer.Kind, issuer.Name)
}

func providedIn(secret string) string {
	return fmt.Sprintf("Secret %s holds a good certificate", secret)
}
