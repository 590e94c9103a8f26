package v1alpha1

import "time"

// Defaults of spec.certificates, which the CRD fills in.
const (
	DefaultCertificateDuration = 2160 * time.Hour
	DefaultOverlap             = time.Hour
	DefaultCADuration          = 87600 * time.Hour
)

// CertificatePeriods are the durations of spec.certificates, none of them left out.
type CertificatePeriods struct {
	// Duration is the validity of server and client certificates.
	Duration time.Duration
	// RenewBefore is how long before its end a certificate is due to be renewed: longer than 0, shorter than Duration.
	RenewBefore time.Duration
	// Overlap is how long a replaced certificate is still let in.
	Overlap time.Duration
	// CADuration is the validity of an authority.
	CADuration time.Duration
}

// CertificatePeriods are those of the spec, or their defaults.
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

// durationOr reads a duration of the form that the CRD takes.
func durationOr(written string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(written); err == nil {
		return d
	}
	return otherwise
}
