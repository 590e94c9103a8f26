package v1alpha1

// Sizes of keys for which the spec gives none, in bits.
const (
	DefaultECDSASize = 256
	DefaultRSASize   = 3072
)

// PrivateKey returns the kind of keys that the spec asks for, with its defaults filled in. Ed25519 has no size.
func (m *ClusterMaster) PrivateKey() PrivateKeySpec {
	if m.Spec.Certificates == nil {
		return PrivateKeySpec{}.WithDefaults()
	}
	return m.Spec.Certificates.PrivateKey.WithDefaults()
}

// WithDefaults returns the kind of key with its defaults filled in.
func (k PrivateKeySpec) WithDefaults() PrivateKeySpec {
	if k.Algorithm == "" {
		k.Algorithm = KeyECDSA
	}
	switch {
	case k.Size != 0:
	case k.Algorithm == KeyECDSA:
		k.Size = DefaultECDSASize
	case k.Algorithm == KeyRSA:
		k.Size = DefaultRSASize
	}
	return k
}
