package v1alpha1

import "time"

// Defaults of spec.certificates, which the CRD fills in.
const (
	DefaultCertificateDuration = 2160 * time.Hour
	DefaultOverlap             = time.Hour
	DefaultCADuration          = 87600 * time.Hour
)

// CertificatePeriods are the durations of spec.certificates, with all defaults filled in.
type CertificatePeriods struct {
	// Duration is the validity of server and client certificates.
	Duration time.Duration
	// RenewBefore is how long before its end a certificate is renewed: more than 0, less than Duration.
	RenewBefore time.Duration
	// Overlap is how long a replaced certificate is still let in.
	Overlap time.Duration
	// CADuration is the validity of an authority.
	CADuration time.Duration
}

// CertificatePeriods returns those of the spec, or their defaults.
func (m *ClusterMaster) CertificatePeriods() CertificatePeriods {
	spec := m.Spec.Certificates
	if spec == nil {
		spec = &CertificatesSpec{}
	}
	duration := durationOr(spec.Duration, DefaultCertificateDuration)
	return CertificatePeriods{
		Duration:    duration,
		RenewBefore: durationOr(spec.RenewBefore, duration/3),
		Overlap:     durationOr(spec.Overlap, DefaultOverlap),
		CADuration:  durationOr(spec.CADuration, DefaultCADuration),
	}
}

// durationOr parses a duration of the form that the CRD allows, or returns the other one.
func durationOr(written string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(written); err == nil {
		return d
	}
	return otherwise
}
