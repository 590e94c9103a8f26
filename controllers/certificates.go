package controllers

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// maxListed is the number of entries of status.certificates.
const maxListed = 8

// held is a certificate as a Secret holds it.
type held struct {
	// chain is there, leaf first, as soon as it parses, also when the rest is no good.
	chain []*x509.Certificate
	pair  pki.PEMPair
	// uid of the Secret; empty for a Secret that is to be made.
	uid types.UID
}

func (h held) leaf() *x509.Certificate {
	if len(h.chain) == 0 {
		return nil
	}
	return h.chain[0]
}

// parseHeld reads certificate and key of a Secret. What is wrong is a *pki.Problem.
func parseHeld(secret *corev1.Secret) (held, error) {
	h := held{uid: secret.UID, pair: pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}}
	var err error
	if h.chain, err = pki.ParseCertificates(corev1.TLSCertKey, h.pair.Certificate); err != nil {
		return h, err
	}
	_, err = pki.ParseKey(corev1.TLSPrivateKeyKey, h.pair.Key, h.chain[0])
	return h, err
}

// issuedSecret is a Secret with a certificate that the operator issues.
type issuedSecret struct {
	owner client.Object
	name  string
	// authority issues. It is nil while there is nothing to judge by, and so nothing to renew for.
	authority *pki.Authority
	// before is how long before its end the certificate is renewed.
	before time.Duration
	// verify tells whether a chain may stay in use; what is wrong is a *pki.Problem.
	verify func(chain []*x509.Certificate) error
	// issue makes a new certificate.
	issue func() (pki.PEMPair, error)
}

// read returns the certificate that is in use, and, as renew, whether a new one is needed: it is missing,
// does not parse, does not verify, or is due. That is decided on what the API
// server has, never on a cache that may be behind.
func (e *Environment) read(ctx context.Context, a *apply.Applier, s issuedSecret) (found bool, current held, renew bool, err error) {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.owner.GetNamespace(), s.name
	found, err = a.Read(ctx, s.owner, secret)
	if err != nil || !found {
		return false, held{}, !found, err
	}
	if current, renew = e.judge(secret, s); !renew {
		return true, current, false, nil
	}
	err = e.Live.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if apierrors.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(secret, s.owner)) {
		return false, held{}, true, nil
	}
	if err != nil {
		return false, held{}, false, fmt.Errorf("read Secret %s: %w", s.name, err)
	}
	current, renew = e.judge(secret, s)
	return true, current, renew, nil
}

func (e *Environment) judge(secret *corev1.Secret, s issuedSecret) (h held, renew bool) {
	h, err := parseHeld(secret)
	switch {
	case err != nil:
		return h, true
	case s.authority == nil:
		return h, false
	case s.verify(h.chain) != nil:
		return h, true
	}
	due := s.authority.RenewAt(h.leaf(), s.before)
	return h, !due.IsZero() && !e.Clock.Now().Before(due)
}

// renew issues a new certificate, to be put in the place of current.
func (s issuedSecret) renew(current held) (held, error) {
	pair, err := s.issue()
	if err != nil {
		return held{}, err
	}
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, pair.Certificate)
	return held{chain: chain, pair: pair, uid: current.uid}, err
}

// over makes desired replace the Secret that was read, and none that has come or gone meanwhile. What a
// person deleted is not brought back with the content that it had.
func over(desired *corev1ac.SecretApplyConfiguration, read types.UID) *corev1ac.SecretApplyConfiguration {
	if read != "" {
		desired.WithUID(read)
	}
	return desired
}

// renewBefore is how long before its end the certificate of an object is renewed. Objects differ by up to a
// tenth of the certificates' duration, each by always the same, so that a fleet does not renew at once.
func renewBefore(m *v1alpha1.ClusterMaster, object types.UID) time.Duration {
	periods := m.CertificatePeriods()
	return periods.RenewBefore + spread(object, min(periods.Duration/10, (periods.Duration-periods.RenewBefore)/2))
}

// spread is a part of limit that depends on the object alone.
func spread(object types.UID, limit time.Duration) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(object))
	const steps = 1000
	return limit / steps * time.Duration(sum.Sum32()%steps)
}

// listCertificates is status.certificates with what was found in use: what was Current before it stays let
// in as Previous until its overlap ends, unless its Secret was deleted. With no certificate nothing is let in.
func listCertificates(listed []v1alpha1.ListedCertificate, found *certificateFound, overlap time.Duration, now time.Time) []v1alpha1.ListedCertificate {
	if found.leaf == nil {
		return nil
	}
	list := []v1alpha1.ListedCertificate{{
		Fingerprint: v1alpha1.Fingerprint(found.leaf),
		NotAfter:    metav1.NewTime(found.leaf.NotAfter.UTC()),
		Use:         v1alpha1.CertificateCurrent,
		Secret:      found.secret,
		SecretUID:   found.secretUID,
	}}
	for _, c := range listed {
		deleted := c.Secret != "" && c.Secret == found.secret && c.SecretUID != found.secretUID
		if deleted || c.Fingerprint == list[0].Fingerprint || len(list) == maxListed {
			continue
		}
		if c.Use == v1alpha1.CertificateCurrent {
			until := metav1.NewTime(now.Add(overlap))
			c.Use, c.Until = v1alpha1.CertificatePrevious, &until
		}
		if c.Until != nil && now.Before(c.Until.Time) && now.Before(c.NotAfter.Time) {
			list = append(list, c)
		}
	}
	return list
}

// currentFingerprint is the Current one of status.certificates, or empty.
func currentFingerprint(listed []v1alpha1.ListedCertificate) string {
	for _, c := range listed {
		if c.Use == v1alpha1.CertificateCurrent {
			return c.Fingerprint
		}
	}
	return ""
}

// hasAuthority tells whether a Secret brings the trust bundle of authority.
func hasAuthority(secret *corev1.Secret, authority *pki.Authority) bool {
	return bytes.Contains(secret.Data[v1alpha1.AuthorityKey], bytes.TrimSpace(authority.BundlePEM()))
}
