package admit

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// Policy is the part of a ClusterMaster's spec that its master follows, parsed once. It is never changed.
type Policy struct {
	// Namespace and Name are those of the ClusterMaster.
	Namespace, Name string
	// Modes are the ways in which nodes are let in: what spec.security says and, while it changes, what it said before.
	Modes []Mode
	// Placement gives each node its upstream.
	Placement *Placement
	// HandshakeTimeout, AliveInterval and AliveTimeout are those of spec.protocol.
	HandshakeTimeout, AliveInterval, AliveTimeout time.Duration
	// MaxSessions bounds the nodes that are let in at once.
	MaxSessions int
	// LiteralPayloads has upstreams written in the literal form of the protocol.
	LiteralPayloads bool
	// MaxHandshakesPerSource bounds the connections from one address that are not authenticated.
	MaxHandshakesPerSource int
	// Proxies are the networks whose addresses may say, by the PROXY protocol, for whom they connect.
	Proxies []netip.Prefix

	versions     *semver.Constraints // nil when the constraint cannot be parsed: nobody is accepted
	versionsText string
	versionsFrom string // where the constraint comes from, for messages
	versionsErr  error
	types        []string
}

// NewPolicy parses a ClusterMaster's spec. It never fails: with a constraint that is not valid, it accepts nobody, and every
// refusal says so.
//
// A pre-release such as 0.2.0-rc.1 is accepted only if the constraint itself names a pre-release (">=0.2.0-0 <0.3.0"), as
// github.com/Masterminds/semver documents it.
func NewPolicy(m *v1alpha1.ClusterMaster) *Policy {
	protocol := m.Spec.Protocol
	p := &Policy{
		Namespace:              m.Namespace,
		Name:                   m.Name,
		Modes:                  modes(m),
		HandshakeTimeout:       seconds(protocol.HandshakeTimeoutSeconds, 10),
		AliveInterval:          seconds(protocol.AliveIntervalSeconds, 10),
		AliveTimeout:           seconds(protocol.AliveTimeoutSeconds, 35),
		MaxSessions:            int(protocol.MaxSessions),
		MaxHandshakesPerSource: int(protocol.MaxHandshakesPerSource),
		LiteralPayloads:        protocol.PayloadForm == v1alpha1.PayloadLiteral,
		versionsText:           strings.TrimSpace(protocol.AcceptedVersions),
		versionsFrom:           "spec.protocol.acceptedVersions",
		types:                  slices.Clone(protocol.AcceptedTypes),
	}
	if p.MaxSessions <= 0 {
		p.MaxSessions = 20000
	}
	if p.MaxHandshakesPerSource <= 0 {
		p.MaxHandshakesPerSource = 32
	}
	if len(p.types) == 0 {
		p.types = []string{"refinery"}
	}
	if p.versionsText == "" {
		p.versionsText = version.SpeakProtocol
		p.versionsFrom = "those that speak the protocol; spec.protocol.acceptedVersions changes it"
	}
	p.Proxies = proxies(m.Spec.Service.ProxyProtocol)
	p.versions, p.versionsErr = semver.NewConstraint(p.versionsText)
	p.Placement = NewPlacement(upstreams(m))
	return p
}

// proxies parses the networks of load balancers. What cannot be parsed, and what stands for everybody, is not trusted.
func proxies(chosen *v1alpha1.ProxyProtocol) (networks []netip.Prefix) {
	if chosen == nil {
		return nil
	}
	for _, text := range chosen.TrustedNetworks {
		if network, err := netip.ParsePrefix(string(text)); err == nil && network.Bits() > 0 {
			networks = append(networks, network)
		}
	}
	return networks
}

// CheckVersion says why the announced version is not accepted, or "".
func (p *Policy) CheckVersion(announced string) string {
	if p.versions == nil {
		return fmt.Sprintf("spec.protocol.acceptedVersions of ClusterMaster %s is not a valid semver constraint (%q: %v); no node is let in until it is",
			p.Name, p.versionsText, p.versionsErr)
	}
	parsed, err := semver.NewVersion(announced)
	if err != nil {
		return fmt.Sprintf("announces version %q, which is not a semantic version; this master accepts %q (%s)",
			announced, p.versionsText, p.versionsFrom)
	}
	if p.versions.Check(parsed) {
		return ""
	}
	message := fmt.Sprintf("announces version %s; this master accepts %q (%s)", announced, p.versionsText, p.versionsFrom)
	if parsed.Prerelease() != "" {
		message += "; pre-releases are accepted only if the constraint names one"
	}
	return message
}

// CheckType says why the announced type is not accepted, or "".
func (p *Policy) CheckType(announced string) string {
	if slices.Contains(p.types, announced) {
		return ""
	}
	return fmt.Sprintf("announces type %q; this master accepts %s (spec.protocol.acceptedTypes)",
		announced, strings.Join(quoted(p.types), ", "))
}

func seconds(value, fallback int32) time.Duration {
	if value <= 0 {
		value = fallback
	}
	return time.Duration(value) * time.Second
}

func quoted(words []string) []string {
	result := make([]string, len(words))
	for i, word := range words {
		result[i] = strconv.Quote(word)
	}
	return result
}
