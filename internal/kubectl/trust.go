package kubectl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// change is a ClusterMaster before and after it, and what else would be written.
type change struct {
	before, after *v1alpha1.ClusterMaster
	secrets       map[string]*corev1.Secret
	// without are the first digits of fingerprints of authorities that are taken away.
	without []string
	now     time.Time
}

// trust is what becomes of the trust bundle of the master.
type trust struct {
	// anchors as they would be; nil if none of today's is lost.
	anchors []*x509.Certificate
	// unknown says why nobody can tell.
	unknown string
	// note is what the operator does about it, if anything.
	note string
}

// bundles are the trust bundle as it is and as it would be.
type bundles struct {
	current, next []*x509.Certificate
	note, unknown string
}

// trust tells what the operator makes of the change. Whoever signs, as long as the operator keeps the bundle, what is
// trusted stays so until nobody needs it. Only a bundle that a person or an issuer keeps can lose something at once.
func (c *change) trust(ctx context.Context, v *view) (trust, error) {
	if err := c.checkSecrets(); err != nil {
		return trust{}, err
	}
	if c.after.Spec.Security.Transport == v1alpha1.TransportPlaintext {
		return trust{}, nil // nobody presents anything
	}
	if was, is := c.before.Issuer(), c.after.Issuer(); !equality.Semantic.DeepEqual(was, is) {
		return trust{unknown: "spec.certificates.issuerRef changes, and with it at once who signs and who is trusted: whether both sides have one authority cannot be told from here"}, nil
	}
	if !c.replaces() && !c.rewrites() && len(c.without) == 0 {
		return trust{unknown: c.forced(false)}, nil
	}
	b, err := c.bundles(ctx, v)
	if err != nil {
		return trust{}, err
	}
	for _, prefix := range c.without {
		rest := slices.DeleteFunc(slices.Clone(b.next), func(a *x509.Certificate) bool { return strings.HasPrefix(v1alpha1.Fingerprint(a), prefix) })
		if len(rest) == len(b.next) {
			return trust{}, fmt.Errorf("no authority in the trust bundle has a fingerprint that begins with %s; there are %s", prefix, describe(b.next))
		}
		b.next = rest
	}
	t := trust{note: b.note, unknown: b.unknown}
	if t.unknown == "" {
		t.unknown = c.forced(b.note == handedOver)
	}
	if slices.ContainsFunc(b.current, func(a *x509.Certificate) bool {
		return !c.now.After(a.NotAfter) && !slices.ContainsFunc(b.next, a.Equal)
	}) {
		t.anchors = append([]*x509.Certificate{}, b.next...) // not nil, even of none
	}
	return t, nil
}

// Notes.
const (
	handedOver = "The authority is replaced step by step: those that are trusted now stay so until nobody needs them (condition CertificateAuthorityRotating)."
	keyless    = "The authority comes without its key, so that the operator issues nothing: Secret %s stays as it is until it is replaced, which -f takes, too."
	notOwned   = "Secret %s is not the operator's: it stays as it is, and the operator issues nothing (NameConflict) until that is deleted, which ends the trust in what it holds."
)

// unmarked is a Secret in which the operator sees nothing that another authority than its own signed.
const unmarked = "spec.certificates.authority is taken away, and Secret %s does not tell that a brought authority signed what it holds: the operator would trust its own alone, at once, and whether these are the same cannot be told from here"

// replaces reports whether another Secret, or none, is to hold the authority.
func (c *change) replaces() bool {
	was, wasNamed := c.before.NamedAuthority()
	is, isNamed := c.after.NamedAuthority()
	return was != is || wasNamed != isNamed
}

// rewrites reports whether a file holds the authority, or the bundle.
func (c *change) rewrites() bool {
	named, _ := c.after.NamedAuthority()
	return c.secrets[named] != nil || c.secrets[c.after.CertificateSecretName()] != nil
}

// checkSecrets refuses Secrets that have nothing to do with who is let in: they would be no change.
func (c *change) checkSecrets() error {
	named, _ := c.after.NamedAuthority()
	for _, name := range slices.Sorted(maps.Keys(c.secrets)) {
		if s := c.secrets[name]; s.Namespace != "" && s.Namespace != c.before.Namespace {
			return fmt.Errorf("the file holds Secret %s/%s, and ClusterMaster %s is in namespace %s", s.Namespace, name, c.before.Name, c.before.Namespace)
		}
		switch {
		case name == named, name == c.after.CertificateSecretName(), name == c.after.SharedSecretName() && usesShared(c.after):
		default:
			return fmt.Errorf("ClusterMaster %s does not use Secret %s: not as its authority (spec.certificates.authority.secretRef), not for what it serves, and not as the shared certificate", c.after.Name, name)
		}
	}
	return nil
}

func (c *change) bundles(ctx context.Context, v *view) (b bundles, err error) {
	secret, err := v.secret(ctx, c.after.CertificateSecretName())
	if err != nil {
		return b, err
	}
	if b.current, err = certificates(secret, v1alpha1.AuthorityKey); err != nil {
		return b, err
	}
	b.next = b.current
	brought := c.secrets[secret.Name]
	if !c.replaces() && !c.rewrites() {
		return b, nil
	}
	authority, err := c.authority(ctx, v)
	owned := metav1.IsControlledBy(secret, c.before)
	switch {
	case err != nil:
		return b, err
	case authority != nil && authority.Key == nil && brought != nil:
		if _, err := tls.X509KeyPair(brought.Data[corev1.TLSCertKey], brought.Data[corev1.TLSPrivateKeyKey]); err != nil {
			return b, fmt.Errorf("the master would load nothing of Secret %s, and go on with what it has: %w", brought.Name, err)
		}
		b.next, err = certificates(brought, v1alpha1.AuthorityKey)
	case authority != nil && authority.Key == nil:
		b.note = fmt.Sprintf(keyless, secret.Name)
	case brought != nil:
		return b, fmt.Errorf("Secret %s would not be brought, since only an authority that comes without its key leaves it to you: what a file puts into it is taken out again", secret.Name) //nolint:staticcheck // a kind's name
	case !owned:
		b.note = fmt.Sprintf(notOwned, secret.Name)
	case authority == nil && !resource.HasBroughtAuthority(secret):
		b.unknown = fmt.Sprintf(unmarked, secret.Name)
	default:
		b.next = pki.Retained(b.current, c.before.Status.Authorities, c.now)
		if authority == nil || slices.ContainsFunc(authority.Certificates, func(a *x509.Certificate) bool { return !slices.ContainsFunc(b.current, a.Equal) }) {
			b.note = handedOver
		}
		if authority != nil {
			b.next = append(b.next, authority.Certificates...)
		}
	}
	return b, err
}

// authority is the one that would be brought, or nil for one of the operator's own.
func (c *change) authority(ctx context.Context, v *view) (*pki.Authority, error) {
	name, named := c.after.NamedAuthority()
	if !named {
		return nil, nil
	}
	secret := c.secrets[name]
	if secret == nil {
		var err error
		if secret, err = v.secret(ctx, name); err != nil {
			return nil, err
		}
	}
	authority, err := pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], c.now)
	if err != nil {
		return nil, fmt.Errorf("the operator would refuse Secret %s: %w", name, err)
	}
	return authority, nil
}

// shared reports whether the shared certificate becomes another one.
func (c *change) shared(ctx context.Context, v *view) (bool, error) {
	was, is := c.before.SharedSecretName(), c.after.SharedSecretName()
	next := c.secrets[is]
	if !usesShared(c.after) || !usesShared(c.before) || (was == is && next == nil) {
		return false, nil
	}
	current, err := v.secret(ctx, was)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err == nil && next == nil {
		next, err = v.secret(ctx, is)
	}
	if apierrors.IsNotFound(err) && is == c.after.OwnSharedSecretName() {
		return true, nil // the operator makes one
	}
	if err != nil {
		return false, err
	}
	const key = v1alpha1.SharedCertificateKey
	return !bytes.Equal(bytes.TrimSpace(current.Data[key]), bytes.TrimSpace(next.Data[key])), nil
}

func usesShared(m *v1alpha1.ClusterMaster) bool {
	return m.Spec.Security.Authentication == v1alpha1.AuthenticationSharedCertificate
}

// forced says that a replacement waits for nobody, or "": it begins with the change, or it is going on and the change forces it.
func (c *change) forced(begins bool) string {
	const force, rotate = v1alpha1.ForceCARotationAnnotation, v1alpha1.RotateCAAnnotation
	forces, asks := c.after.Annotations[force], ""
	if _, named := c.after.NamedAuthority(); !named && c.after.Issuer() == nil {
		asks = c.after.Annotations[rotate]
	}
	begins = begins || (asks != "" && asks != c.before.Annotations[rotate])
	goesOn := meta.FindStatusCondition(c.before.Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating) != nil
	switch {
	case !begins && (!goesOn || forces == c.before.Annotations[force]):
		return ""
	case forces == string(pki.RotationPreparing), forces == string(pki.RotationActivating), forces != "" && forces == asks:
		return fmt.Sprintf("annotation %s: %s has the authority replaced without waiting for any node: it is cut off unless it has the new files in time", force, forces)
	default:
		return ""
	}
}

func certificates(secret *corev1.Secret, key string) ([]*x509.Certificate, error) {
	found, err := pki.ParseCertificates(key, secret.Data[key])
	if err != nil {
		return nil, fmt.Errorf("Secret %s: %w", secret.Name, err) //nolint:staticcheck // a kind's name
	}
	return found, nil
}

func describe(anchors []*x509.Certificate) string {
	words := make([]string, len(anchors))
	for i, c := range anchors {
		words[i] = fmt.Sprintf("%s (%q)", v1alpha1.Fingerprint(c), c.Subject.String())
	}
	return strings.Join(words, ", ")
}
