package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// change is a ClusterMaster before and after it, and what else would be written.
type change struct {
	before, after *v1alpha1.ClusterMaster
	secrets       map[string]*corev1.Secret
}

// checkSecrets refuses Secrets that have nothing to do with who is let in: they would be no change.
func (c *change) checkSecrets() error {
	authority, _ := c.after.NamedAuthority()
	for _, name := range slices.Sorted(maps.Keys(c.secrets)) {
		if s := c.secrets[name]; s.Namespace != "" && s.Namespace != c.before.Namespace {
			return fmt.Errorf("the file holds Secret %s/%s, and ClusterMaster %s is in namespace %s", s.Namespace, name, c.before.Name, c.before.Namespace)
		}
		switch {
		case name == authority, name == c.after.CertificateSecretName(), name == sharedFrom(c.after) && c.after.UsesShared():
		default:
			return fmt.Errorf("ClusterMaster %s does not use Secret %s: not as its authority (spec.certificates.authority.secretRef), not for what it serves, and not as the shared certificate", c.after.Name, name)
		}
	}
	return nil
}

// shared reports whether the shared certificate becomes another one than that in use.
func (c *change) shared(ctx context.Context, v *view) (bool, error) {
	from := sharedFrom(c.after)
	next := c.secrets[from]
	if !c.after.UsesShared() || !c.before.UsesShared() || (from == sharedFrom(c.before) && next == nil) || (from == c.after.SharedSecretName() && next == nil) {
		return false, nil
	}
	current, err := v.secret(ctx, c.before.SharedSecretName())
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err == nil && next == nil {
		next, err = v.secret(ctx, from)
	}
	if err != nil {
		return false, err
	}
	const key = v1alpha1.SharedCertificateKey
	return !bytes.Equal(bytes.TrimSpace(current.Data[key]), bytes.TrimSpace(next.Data[key])), nil
}

// sharedFrom names the Secret that the shared certificate comes from.
func sharedFrom(m *v1alpha1.ClusterMaster) string {
	if provided, named := m.ProvidedSharedSecretName(); named {
		return provided
	}
	return m.SharedSecretName()
}
