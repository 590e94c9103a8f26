package v1alpha1

import (
	"fmt"
	"strconv"
	"time"
)

// MaxFormerSecurity bounds the entries of status.security.former of a ClusterMaster.
const MaxFormerSecurity = 3

// SecurityMode is one choice of spec.security: how nodes connect, and how they prove that they may.
type SecurityMode struct {
	// transport that carries the connection.
	// +required
	Transport Transport `json:"transport"`
	// authentication by which a node proves that it may take part.
	// +required
	Authentication Authentication `json:"authentication"`
}

// String is the mode as messages write it.
func (s SecurityMode) String() string {
	if s.Transport == TransportMutualTLS {
		return fmt.Sprintf("%s with %s", s.Transport, s.Authentication)
	}
	return string(s.Transport) // which leaves one way to authenticate
}

// strength orders modes by what a node has to prove.
func (s SecurityMode) strength() int {
	switch {
	case s.Transport == TransportPlaintext:
		return 0
	case s.Transport == TransportServerTLS:
		return 1
	case s.Authentication == AuthenticationSharedCertificate:
		return 2
	default:
		return 3
	}
}

// WeakerThan reports whether a node has to prove less than by other.
func (s SecurityMode) WeakerThan(other SecurityMode) bool { return s.strength() < other.strength() }

// ChecksCertificates reports whether a node has to present a certificate that its Refinery lists.
func (s SecurityMode) ChecksCertificates() bool { return s.Transport == TransportMutualTLS }

// Mode is the choice that the spec makes.
func (s SecuritySpec) Mode() SecurityMode {
	mode := SecurityMode{Transport: s.Transport, Authentication: s.Authentication}
	if mode.Transport == "" {
		mode.Transport = TransportMutualTLS
	}
	if mode.Authentication == "" {
		mode.Authentication = AuthenticationIssuedCertificate
	}
	return mode
}

// OverlapDuration is for how long nodes may connect as before when the spec's choice changes.
func (s SecuritySpec) OverlapDuration() time.Duration { return durationOr(s.Overlap, DefaultOverlap) }

// FormerModes are the choices that spec.security made before and by which nodes may still be let in, the latest first.
// One without a time has just been given up: the operator has yet to say until when it holds.
func (m *ClusterMaster) FormerModes() []FormerSecurity {
	now, wanted := m.Status.Security, m.Spec.Security.Mode()
	if now == nil || m.Spec.Security.OverlapDuration() == 0 {
		return nil
	}
	var former []FormerSecurity
	add := func(f FormerSecurity) {
		if f.SecurityMode != wanted && len(former) < MaxFormerSecurity {
			former = append(former, f)
		}
	}
	add(FormerSecurity{SecurityMode: now.SecurityMode})
	for _, f := range now.Former {
		add(f)
	}
	return former
}

// NodesBy is the number of authenticated nodes that connected in one way, as far as it was counted.
func (a *AuthenticatedNodes) NodesBy(mode SecurityMode) int32 {
	for _, n := range a.Security {
		if n.SecurityMode == mode {
			return n.Nodes
		}
	}
	return 0
}

// IsChangingSecurity reports whether nodes may still connect as spec.security said before, by the status.
func (m *ClusterMaster) IsChangingSecurity() bool {
	return m.Status.Security != nil && len(m.Status.Security.Former) > 0
}

// anyMode reports whether a choice that spec.security makes, or made and that still holds, is so.
func (m *ClusterMaster) anyMode(is func(SecurityMode) bool) bool {
	if is(m.Spec.Security.Mode()) {
		return true
	}
	for _, f := range m.FormerModes() {
		if is(f.SecurityMode) {
			return true
		}
	}
	return false
}

// UsesTLS reports whether some nodes may connect over TLS.
func (m *ClusterMaster) UsesTLS() bool {
	return m.anyMode(func(s SecurityMode) bool { return s.Transport != TransportPlaintext })
}

// SharedGeneration reads the generation of what Secret <master>-shared holds: the first, where none is written.
func SharedGeneration(data map[string][]byte) int64 {
	generation, err := strconv.ParseInt(string(data[SharedGenerationKey]), 10, 64)
	if err != nil || generation < 1 {
		return 1
	}
	return generation
}

// SharedUntil reads until when the former shared certificate in Secret <master>-shared is let in; it is over where that cannot be read.
func SharedUntil(data map[string][]byte) time.Time {
	until, err := time.Parse(time.RFC3339, string(data[SharedUntilKey]))
	if err != nil {
		return time.Unix(0, 0)
	}
	return until
}

// UsesShared reports whether some nodes may authenticate with the shared certificate.
func (m *ClusterMaster) UsesShared() bool {
	return m.anyMode(func(s SecurityMode) bool { return s.Authentication == AuthenticationSharedCertificate })
}

// UsesServerTLS reports whether some nodes may connect over TLS without a certificate of their own.
func (m *ClusterMaster) UsesServerTLS() bool {
	return m.anyMode(func(s SecurityMode) bool { return s.Transport == TransportServerTLS })
}

// NodeMode is how the operator has nodes connect that it starts: as spec.security says, but as before while the active master
// has not loaded the shared certificate that it needs for that.
func (m *ClusterMaster) NodeMode() SecurityMode {
	mode, former, active := m.Spec.Security.Mode(), m.FormerModes(), m.Status.Active
	if mode.Authentication == AuthenticationSharedCertificate && len(former) > 0 && active != nil && active.Pod != "" && active.SharedGeneration == 0 {
		return former[0].SecurityMode
	}
	return mode
}
