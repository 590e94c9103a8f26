package admit

import (
	"fmt"
	"slices"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Mode is one way in which nodes are let in.
type Mode struct {
	v1alpha1.SecurityMode
	// Former reports whether it is what spec.security said before. Then Until is when it ends; zero while that is not decided.
	Former bool
	Until  time.Time
}

// modes are those of a ClusterMaster, the one of its spec first.
func modes(m *v1alpha1.ClusterMaster) []Mode {
	all := []Mode{{SecurityMode: m.Spec.Security.Mode()}}
	for _, f := range m.FormerModes() {
		all = append(all, Mode{f.SecurityMode, true, f.Until.Time})
	}
	return all
}

// Mode is that of spec.security.
func (p *Policy) Mode() v1alpha1.SecurityMode { return p.Modes[0].SecurityMode }

// Changing reports whether nodes may still be let in as before.
func (p *Policy) Changing() bool { return len(p.Modes) > 1 }

// Uses reports whether nodes are let in over a transport.
func (p *Policy) Uses(t v1alpha1.Transport) bool {
	return slices.ContainsFunc(p.Modes, func(m Mode) bool { return m.Transport == t })
}

// transport is that of the connection.
func (n *Announced) transport() v1alpha1.Transport {
	switch {
	case !n.TLS:
		return v1alpha1.TransportPlaintext
	case n.Proof.Leaf == nil:
		return v1alpha1.TransportServerTLS
	default:
		return v1alpha1.TransportMutualTLS
	}
}

// modesFor are those in which a node may be let in that connected as it did: first those of the same transport, then those that
// ask for less. With a transport that asks for more than the connection has, the node is told what it lacks.
func (p *Policy) modesFor(n Announced) []Mode {
	var same, other []Mode
	for _, m := range p.Modes {
		switch {
		case m.Transport == n.transport():
			same = append(same, m)
		case n.TLS || m.Transport == v1alpha1.TransportPlaintext:
			other = append(other, m)
		}
	}
	return append(same, other...)
}

// withoutTLS is the denial of a node that connected before a change of the transport.
func withoutTLS(policy *Policy) *Denial {
	return &Denial{Reason: v1alpha1.ReasonSecurityChanged, Message: fmt.Sprintf(
		"connected without TLS before spec.security.transport became %s; the node must connect again with TLS", policy.Mode().Transport)}
}

// hasLeft reports whether a Refinery has moved on from the mode with an index: modes are ordered, the latest first.
func (p *Policy) hasLeft(r *v1alpha1.Refinery, index int) bool {
	if r.Status.Security == nil {
		return false
	}
	moved := slices.IndexFunc(p.Modes, func(m Mode) bool { return m.SecurityMode == *r.Status.Security })
	return moved >= 0 && moved < index
}

// checkMode reports that a node may not be let in the way in which it connected, or not any more: spec.security says
// something else, and the time for moving is over, or all nodes of its Refinery had moved. While they move, a Refinery with a
// revoked or banned certificate is let in only where certificates are checked: whoever has the key may know the shared certificate too.
func (a *Authenticator) checkMode(g *Grant) *Denial {
	policy := a.Directory.Policy()
	if policy == nil {
		return masterGone()
	}
	changed := func(format string, args ...any) *Denial {
		return &Denial{Refinery: g.Refinery, Reason: v1alpha1.ReasonSecurityChanged,
			Message: fmt.Sprintf("connected by %s, and spec.security of the ClusterMaster says %s: ", g.Mode, policy.Mode()) + fmt.Sprintf(format, args...)}
	}
	i := slices.IndexFunc(policy.Modes, func(m Mode) bool { return m.SecurityMode == g.Mode })
	if i < 0 {
		return changed("the node must connect again as it says")
	}
	mode, r := policy.Modes[i], a.Directory.Refinery(g.Refinery)
	switch {
	case !mode.Former || r == nil:
		return nil
	case !mode.Until.IsZero() && a.Clock.Now().After(mode.Until):
		return changed("the time for moving ended at %s", mode.Until.UTC().Format(time.RFC3339))
	case policy.hasLeft(r, i):
		return changed("all nodes of the Refinery had connected by %s, and none may go back", *r.Status.Security)
	case len(r.Status.Revoked) > 0 && !mode.ChecksCertificates():
		return changed("a certificate of the Refinery is revoked, so its nodes are let in that way only")
	case !mode.ChecksCertificates() && a.bansCertificate(r):
		return changed("spec.banned of the Refinery names a certificate, so its nodes are let in that way only")
	}
	return nil
}
