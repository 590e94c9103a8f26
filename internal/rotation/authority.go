package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// ErrNotMade reports that the operator's own authority of a master does not exist yet.
var ErrNotMade = errors.New("the certificate authority does not exist yet")

// Authority reads the certificate authority of a master, and what stays trusted beside it: the one that is provided, the
// issuer's, or the operator's own. What is wrong with it is a *pki.Problem, which names the Secret, or ErrNotMade.
func Authority(ctx context.Context, secrets *certificates.Secrets, m *v1alpha1.ClusterMaster, now time.Time) (*pki.Authority, error) {
	if m.Issuer() != nil {
		return issuersAuthority(ctx, secrets, m, now)
	}
	var authority *pki.Authority
	if name, provided := m.NamedAuthority(); provided {
		secret, err := secrets.Provided(ctx, m.Namespace, name)
		if err != nil {
			return nil, err
		}
		authority, err = pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], now)
		if err != nil {
			return nil, certificates.InSecret(name, err)
		}
	} else {
		secret, err := secrets.Own(ctx, m, m.AuthoritySecretName())
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, ErrNotMade
		}
		files, record := resource.ReadMasterAuthority(secret)
		if authority, err = files.Parse(now); err != nil {
			return nil, certificates.InSecret(secret.Name, err)
		}
		authority.Since = record.Began
	}
	authority.LeafDuration, authority.LeafKey = m.CertificatePeriods().Duration, m.PrivateKey()
	return authority, RetainServed(ctx, secrets, m, authority, now)
}

// RetainServed makes an authority keep trusting those before it that are in the trust bundle that the master serves.
func RetainServed(ctx context.Context, secrets *certificates.Secrets, m *v1alpha1.ClusterMaster, authority *pki.Authority, now time.Time) error {
	if authority.Key == nil {
		return nil // nothing is issued, and so that bundle is provided, too
	}
	served, err := Served(ctx, secrets, m)
	if err == nil {
		retain(authority, m, served, now)
	}
	return err
}

// Served is the Secret of the certificate that a master serves. It is nil while there is none, or someone else's.
func Served(ctx context.Context, secrets *certificates.Secrets, m *v1alpha1.ClusterMaster) (*corev1.Secret, error) {
	secret, err := secrets.Own(ctx, m, m.CertificateSecretName())
	if _, taken := errors.AsType[*apply.ConflictError](err); taken {
		return nil, nil
	}
	return secret, err
}

// issuersAuthority is the trust bundle that the issuer put beside the certificate of the master: what its pods go by.
func issuersAuthority(ctx context.Context, secrets *certificates.Secrets, m *v1alpha1.ClusterMaster, now time.Time) (*pki.Authority, error) {
	secret, err := secrets.Provided(ctx, m.Namespace, m.CertificateSecretName())
	if p := pki.AsProblem(err); p != nil {
		return nil, &pki.Problem{Reason: p.Reason, Message: fmt.Sprintf("%s %s has not issued Secret %s yet",
			m.Issuer().Kind, m.Issuer().Name, m.CertificateSecretName())}
	}
	if err != nil {
		return nil, err
	}
	authority, err := certificates.IssuersBundle(secret, now)
	return authority, certificates.InSecret(secret.Name, err)
}
