package certificates

import (
	"crypto/x509"
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Verdict is what is to be done about a certificate.
type Verdict struct {
	// Renew: now.
	Renew bool
	// Good: the one in use may stay in use meanwhile.
	Good bool
	// Due is when to renew it, or zero for never.
	Due time.Time
	// KeepBundle: the Secret keeps its present trust bundle until a new certificate is written with it.
	KeepBundle bool
}

// RecheckAt returns when a certificate is due, or, if it never is, a second after it expires.
func (v Verdict) RecheckAt(leaf *x509.Certificate) time.Time {
	if !v.Due.IsZero() {
		return v.Due
	}
	return leaf.NotAfter.Add(time.Second)
}

// RenewBefore returns how long before it expires the certificate of an object is renewed. It differs between objects by
// up to a tenth of the certificates' duration, so that a fleet does not renew at once. It is always the same for one
// object.
func RenewBefore(m *v1alpha1.ClusterMaster, object types.UID) time.Duration {
	periods := m.CertificatePeriods()
	return periods.RenewBefore + spread(object, min(periods.Duration/10, (periods.Duration-periods.RenewBefore)/2))
}

// ReissueWindow returns the time over which the certificates of a fleet are reissued when their authority changes.
func ReissueWindow(m *v1alpha1.ClusterMaster) time.Duration {
	return min(time.Minute, m.CertificatePeriods().Duration/10)
}

// spread returns a part of limit that depends on the object's UID alone.
func spread(object types.UID, limit time.Duration) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(object))
	const steps = 1000
	return limit / steps * time.Duration(sum.Sum32()%steps)
}
