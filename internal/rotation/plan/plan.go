// Package plan tells beforehand what the operator would make of a change of the authority of a ClusterMaster. The rules that
// the rotation itself goes by, too, are here, since kubectl refinery links this package and not what an operator needs.
package plan

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Change is a change of a ClusterMaster and of the Secrets that it uses.
type Change struct {
	Before, After *v1alpha1.ClusterMaster
	// Written are the Secrets that are written, by name.
	Written map[string]*corev1.Secret
	// Without are the first digits of fingerprints of authorities that are taken out of the trust bundle.
	Without []string
	// Read reads a Secret as it is.
	Read func(name string) (*corev1.Secret, error)
	Now  time.Time
}

// Plan is what becomes of the trust bundle of the master.
type Plan struct {
	// Anchors as they would be; nil if none of today's is lost.
	Anchors []*x509.Certificate
	// Unknown says why nobody can tell.
	Unknown string
	// Note is what the operator does about it, if anything.
	Note string
}

// Notes, and a reason why nobody can tell.
const (
	stepwise = "The authority is replaced step by step: those that are trusted now stay so until nobody needs them (condition CertificateAuthorityRotating)."
	keyless  = "The authority is provided without its key, so the operator issues nothing: Secret %s stays as it is until you replace it; to preview that too, give -f the new Secret."
	notOwned = "Secret %s is not the operator's: it stays as it is, and the operator issues nothing (NameConflict) until that is deleted, which ends the trust in what it holds."
	unmarked = "spec.certificates.authority is removed, and Secret %s does not say that a provided authority signed what it holds: the operator would at once trust its own authority alone, and whether that one signed it cannot be determined from here"
)

// Plan returns what the operator does about the change. As long as the operator keeps the trust bundle, it keeps
// trusting an authority until nobody needs it. Only a bundle that a user or an issuer keeps can lose an authority at
// once.
func (c *Change) Plan() (Plan, error) {
	if !c.After.UsesTLS() {
		return Plan{}, nil // nobody presents anything
	}
	if was, is := c.Before.Issuer(), c.After.Issuer(); !equality.Semantic.DeepEqual(was, is) {
		return Plan{Unknown: "spec.certificates.issuerRef changes, and with it, at once, who signs and which trust bundle applies: whether nodes and master then have the same authority cannot be determined from here"}, nil
	}
	if !c.replaces() && len(c.Without) == 0 {
		return Plan{Unknown: c.forced(false)}, nil
	}
	served, err := c.Read(c.After.CertificateSecretName())
	if err != nil {
		return Plan{}, err
	}
	current, err := parseBundle(served)
	if err != nil {
		return Plan{}, err
	}
	next, plan := current, Plan{}
	if c.replaces() {
		if next, plan, err = c.replace(served, current); err != nil {
			return Plan{}, err
		}
	}
	if next, err = c.takeOut(next); err != nil {
		return Plan{}, err
	}
	if plan.Unknown == "" {
		plan.Unknown = c.forced(plan.Note == stepwise)
	}
	if slices.ContainsFunc(current, func(a *x509.Certificate) bool {
		return !c.Now.After(a.NotAfter) && !slices.ContainsFunc(next, a.Equal)
	}) {
		plan.Anchors = append([]*x509.Certificate{}, next...) // not nil, even of none
	}
	return plan, nil
}

// replaces reports whether the change lets another Secret, or none, hold the authority, or writes the Secret of the
// authority or of the bundle.
func (c *Change) replaces() bool {
	was, wasProvided := c.Before.NamedAuthority()
	is, isProvided := c.After.NamedAuthority()
	return was != is || wasProvided != isProvided || c.Written[is] != nil || c.Written[c.After.CertificateSecretName()] != nil
}

// replace returns the bundle after the change.
func (c *Change) replace(served *corev1.Secret, current []*x509.Certificate) (next []*x509.Certificate, plan Plan, err error) {
	authority, err := c.authority()
	written := c.Written[served.Name]
	switch {
	case err != nil:
		return nil, plan, err
	case authority != nil && authority.Key == nil && written != nil:
		if _, err := pemtext.KeyPair(corev1.TLSCertKey, written.Data[corev1.TLSCertKey], corev1.TLSPrivateKeyKey, written.Data[corev1.TLSPrivateKeyKey]); err != nil {
			return nil, plan, fmt.Errorf("the master would not load Secret %s, and would continue with the certificate that it has loaded: %w", written.Name, err)
		}
		next, err = parseBundle(written)
		return next, plan, err
	case authority != nil && authority.Key == nil:
		plan.Note = fmt.Sprintf(keyless, served.Name)
	case written != nil:
		return nil, plan, fmt.Errorf("the operator writes Secret %s and would undo this change: you provide that Secret only if the authority is provided without its key", served.Name)
	case !metav1.IsControlledBy(served, c.Before):
		plan.Note = fmt.Sprintf(notOwned, served.Name)
	case authority == nil && !resource.HasProvidedAuthority(served):
		plan.Unknown = fmt.Sprintf(unmarked, served.Name)
	default:
		next = Retained(authority, current, c.Before, c.Now)
		if authority == nil || slices.ContainsFunc(authority.Certificates, func(a *x509.Certificate) bool { return !slices.ContainsFunc(current, a.Equal) }) {
			plan.Note = stepwise
		}
		if authority != nil {
			next = slices.Concat(authority.Certificates, next)
		}
		return next, plan, nil
	}
	return current, plan, nil
}

// authority returns the provided authority after the change, or nil if the operator creates its own.
func (c *Change) authority() (*pki.Authority, error) {
	name, provided := c.After.NamedAuthority()
	if !provided {
		return nil, nil
	}
	secret := c.Written[name]
	if secret == nil {
		var err error
		if secret, err = c.Read(name); err != nil {
			return nil, err
		}
	}
	authority, err := pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], c.Now)
	if err != nil {
		return nil, fmt.Errorf("the operator would refuse Secret %s: %w", name, err)
	}
	return authority, nil
}

// takeOut returns a bundle without the authorities that the change removes from it.
func (c *Change) takeOut(bundle []*x509.Certificate) ([]*x509.Certificate, error) {
	for _, prefix := range c.Without {
		rest := slices.DeleteFunc(slices.Clone(bundle), func(a *x509.Certificate) bool { return strings.HasPrefix(v1alpha1.Fingerprint(a), prefix) })
		if len(rest) == len(bundle) {
			return nil, fmt.Errorf("no authority in the trust bundle has a fingerprint that begins with %s; there are %s", prefix, describe(bundle))
		}
		bundle = rest
	}
	return bundle, nil
}

// forced says that the change makes a rotation continue without waiting for any node, or "". begins reports whether the
// change begins a rotation. It may also begin one by annotation, or force one that is in progress.
func (c *Change) forced(begins bool) string {
	const force, rotate = v1alpha1.ForceCARotationAnnotation, v1alpha1.RotateCAAnnotation
	request := ""
	if _, provided := c.After.NamedAuthority(); !provided && c.After.Issuer() == nil {
		request = c.After.Annotations[rotate]
	}
	begins = begins || (request != "" && request != c.Before.Annotations[rotate])
	goesOn := c.Before.IsRotating() && c.After.Annotations[force] != c.Before.Annotations[force]
	if !begins && !goesOn {
		return ""
	}
	if !Forces(c.After, pki.RotationPreparing, request) && !Forces(c.After, pki.RotationActivating, request) {
		return ""
	}
	return fmt.Sprintf("annotation %s: %s replaces the authority without waiting for any node: it cuts off every node that has not loaded the new files by then",
		force, c.After.Annotations[force])
}

// Retained returns the certificates of a bundle that stay trusted when authority takes over (nil if that is still to be
// created): those that have not expired, that the operator put there itself, as status lists them, and that are not
// authority's own.
func Retained(authority *pki.Authority, bundle []*x509.Certificate, m *v1alpha1.ClusterMaster, now time.Time) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(bundle), func(c *x509.Certificate) bool {
		return now.After(c.NotAfter) || !slices.Contains(m.Status.Authorities, v1alpha1.Fingerprint(c)) ||
			(authority != nil && slices.ContainsFunc(authority.Certificates, c.Equal))
	})
}

// Forces reports whether annotation force-ca-rotation lets a phase end. request is the one that began the rotation, or "".
func Forces(m *v1alpha1.ClusterMaster, phase pki.RotationPhase, request string) bool {
	force := m.Annotations[v1alpha1.ForceCARotationAnnotation]
	return force != "" && (force == request || force == string(phase))
}

func parseBundle(secret *corev1.Secret) ([]*x509.Certificate, error) {
	bundle, err := pki.ParseCertificates(v1alpha1.AuthorityKey, secret.Data[v1alpha1.AuthorityKey])
	if err != nil {
		return nil, fmt.Errorf("Secret %s: %w", secret.Name, err) //nolint:staticcheck // a kind's name
	}
	return bundle, nil
}

func describe(anchors []*x509.Certificate) string {
	words := make([]string, len(anchors))
	for i, c := range anchors {
		words[i] = fmt.Sprintf("%s (%q)", v1alpha1.Fingerprint(c), c.Subject.String())
	}
	return strings.Join(words, ", ")
}
