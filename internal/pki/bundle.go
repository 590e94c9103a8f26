package pki

import (
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// ParseBundle reads trust anchors that came without a key: at least one, all of them certificate authorities, the
// first one valid now. field names the value in what is said about it. What is wrong comes back as a *Problem.
func ParseBundle(field string, bundle []byte, now time.Time) (*Authority, error) {
	anchors, err := ParseCertificates(field, bundle)
	if err != nil {
		return nil, err
	}
	for _, c := range anchors {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, problemf(v1alpha1.ReasonWrongUsage,
				"%s holds %s, which is not a certificate authority: it lacks the basic constraint CA", field, nameOf(c))
		}
	}
	if err := checkValidity(anchors[0], now); err != nil {
		return nil, err
	}
	return &Authority{Certificates: anchors}, nil
}
