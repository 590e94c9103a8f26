package admit

import (
	"crypto/x509"
	"fmt"
	"strings"

	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// When is when a change takes effect for a node.
type When string

const (
	// AtOnce ends the node's session as soon as the master knows of the change.
	AtOnce When = "AtOnce"
	// OnReturn leaves the session alone, and refuses the node when it connects again.
	OnReturn When = "OnReturn"
	// Later leaves the node as it is for a time in which it has to change.
	Later When = "Later"
	// Unknown means that what is known does not decide it.
	Unknown When = "Unknown"
)

// Refusal is an authenticated node that would not be let in any more.
type Refusal struct {
	Refinery string `json:"refinery"`
	// Node is its id; "" for those that status.nodes does not list.
	Node    string `json:"node,omitempty"`
	When    When   `json:"when"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

// Proposal is a change of a ClusterMaster, and what is known of the nodes that it concerns.
type Proposal struct {
	Before, After *v1alpha1.ClusterMaster
	// Refineries that name it, with the status that the active master wrote.
	Refineries []v1alpha1.Refinery
	// Anchors are the trust bundle as it would be; nil if it loses none of today's.
	Anchors []*x509.Certificate
	// Unknown says why it is not known whom the master would trust; "" if it is known.
	Unknown string
	// Shared reports whether the shared certificate becomes another one.
	Shared bool
	// Chains are the certificates of nodes, leaf first, by the leaf's fingerprint.
	Chains map[string][]*x509.Certificate
	Clock  clock.PassiveClock

	membership *Membership
}

// Preview returns who would be refused, in the order of the Refineries and of their nodes. It judges a node by what it
// announced and presented last, with the code by which the master would: Policy and Authenticator.
func (p *Proposal) Preview() []Refusal {
	trust := new(Trust).WithAnchors(p.Anchors)
	judge := &Authenticator{Directory: onlyPolicy{NewPolicy(p.After)}, Trust: func() *Trust { return trust }, Clock: p.Clock}
	all := make([]*v1alpha1.Refinery, 0, len(p.Refineries))
	for i := range p.Refineries {
		all = append(all, &p.Refineries[i])
	}
	p.membership = NewMembership(all)
	var refusals []Refusal
	for i := range p.Refineries {
		refusals = append(refusals, p.refinery(judge, &p.Refineries[i])...)
	}
	return refusals
}

// onlyPolicy is a Directory without Refineries.
type onlyPolicy struct{ policy *Policy }

func (o onlyPolicy) Policy() *Policy                  { return o.policy }
func (onlyPolicy) Refinery(string) *v1alpha1.Refinery { return nil }
func (onlyPolicy) Membership() *Membership            { return NewMembership(nil) }
func (onlyPolicy) Listing(string) []string            { return nil }

// refinery judges the nodes of one Refinery that are authenticated now.
func (p *Proposal) refinery(judge *Authenticator, r *v1alpha1.Refinery) (refusals []Refusal) {
	listed := 0
	for i := range r.Status.Nodes {
		n := &r.Status.Nodes[i]
		if n.State != v1alpha1.NodeAuthenticated {
			continue
		}
		listed++
		if refusal := p.node(judge, r, n.ID, n.Version, n.Type, n.Certificate); refusal != nil {
			refusal.Refinery, refusal.Node = r.Name, n.ID
			refusals = append(refusals, *refusal)
		}
	}
	all := r.Status.Authenticated
	if all == nil || int(all.Nodes) <= listed || (len(refusals) == 0 && p.allPass(judge, r)) {
		return refusals
	}
	return append(refusals, Refusal{Refinery: r.Name, When: Unknown,
		Message: fmt.Sprintf("%d more nodes are authenticated that status.nodes does not list", int(all.Nodes)-listed)})
}

// allPass reports whether every version and every certificate that nodes of a Refinery have passes, listed or not.
func (p *Proposal) allPass(judge *Authenticator, r *v1alpha1.Refinery) bool {
	certificates := r.Status.Authenticated.Certificates
	counted := 0
	for _, c := range certificates {
		counted += int(c.Nodes)
	}
	if p.Anchors != nil && judge.Directory.Policy().Mode().ChecksCertificates() && counted < int(r.Status.Authenticated.Nodes) {
		return false
	}
	if len(certificates) == 0 {
		certificates = []v1alpha1.PresentedCertificate{{}}
	}
	for version := range strings.SplitSeq(r.Status.Authenticated.Versions, ",") {
		for _, c := range certificates {
			if p.node(judge, r, r.Name, version, r.Spec.Type, c.Fingerprint) != nil {
				return false
			}
		}
	}
	return true
}

// node judges one, by what it announced and the fingerprint of what it presented; nil: it is let in as before. What is
// certain goes before what is not known.
func (p *Proposal) node(judge *Authenticator, r *v1alpha1.Refinery, id, version, kind, fingerprint string) *Refusal {
	after := judge.Directory.Policy()
	if elsewhere := p.elsewhere(after, r, id, kind); elsewhere != nil {
		return elsewhere
	}
	if changed := p.securityChanged(after); changed != nil {
		return changed
	}
	if p.Shared && after.Mode().Authentication == v1alpha1.AuthenticationSharedCertificate {
		return p.sharedChanged()
	}
	distrusted := p.distrusted(judge, fingerprint)
	if distrusted != nil && distrusted.When == AtOnce {
		return distrusted
	}
	if denial := judge.Establish(Announced{Version: version, Type: kind}); denial != nil {
		return &Refusal{When: OnReturn, Reason: denial.Reason, Message: denial.Message}
	}
	if err := after.Placement.Check(kind, r.Spec.Upstream); err != nil {
		return &Refusal{When: OnReturn, Reason: v1alpha1.ReasonUnknownUpstream, Message: err.Error()}
	}
	return distrusted
}

// elsewhere judges whether a node stays with its Refinery when it goes by what it announces; nil: it does.
func (p *Proposal) elsewhere(after *Policy, r *v1alpha1.Refinery, id, kind string) *Refusal {
	of := p.membership.Of(id, kind)
	if after.Mode().Authentication != v1alpha1.AuthenticationSharedCertificate || of == r.Name {
		return nil
	}
	refusal := &Refusal{When: Later, Reason: v1alpha1.ReasonIDMismatch, Message: fmt.Sprintf(
		"with SharedCertificate the node is of Refinery %s by its id and type; select it by spec.nodes of Refinery %s", of, r.Name)}
	if of == "" {
		refusal.Message = fmt.Sprintf("with SharedCertificate the node is of no Refinery by its id and type; select it by spec.nodes of Refinery %s", r.Name)
	}
	if p.After.Spec.Security.OverlapDuration() == 0 {
		refusal.When = AtOnce
	}
	return refusal
}

// securityChanged judges a change of spec.security; nil: there is none.
func (p *Proposal) securityChanged(after *Policy) *Refusal {
	mode := after.Mode()
	if mode == NewPolicy(p.Before).Mode() {
		return nil
	}
	if overlap := p.After.Spec.Security.OverlapDuration(); overlap > 0 {
		return &Refusal{When: Later, Reason: v1alpha1.ReasonSecurityChanged, Message: fmt.Sprintf(
			"spec.security changes: the node is let in as before until it has connected by %s, for %s at most", mode, overlap)}
	}
	return &Refusal{When: AtOnce, Reason: v1alpha1.ReasonSecurityChanged, Message: fmt.Sprintf(
		"spec.security changes, and its overlap is 0s: the node must connect again, by %s", mode)}
}

// sharedChanged judges another shared certificate: what is provided elsewhere takes the place of the one in use step by step.
func (p *Proposal) sharedChanged() *Refusal {
	from, provided := p.After.ProvidedSharedSecretName()
	if overlap := p.After.Spec.Security.OverlapDuration(); provided && from != p.After.SharedSecretName() && overlap > 0 {
		return &Refusal{When: Later, Reason: v1alpha1.ReasonSharedCertificateMismatch, Message: fmt.Sprintf(
			"the shared certificate of the master changes: the node is let in with the former one for %s more", overlap)}
	}
	return &Refusal{When: AtOnce, Reason: v1alpha1.ReasonSharedCertificateMismatch,
		Message: "the shared certificate of the master changes: every node must authenticate again, with the new one"}
}

// distrusted judges a certificate by its fingerprint; nil: the master would trust it.
func (p *Proposal) distrusted(judge *Authenticator, fingerprint string) *Refusal {
	if p.Unknown != "" {
		return &Refusal{When: Unknown, Message: p.Unknown}
	}
	if p.Anchors == nil || fingerprint == "" {
		return nil
	}
	chain := p.Chains[fingerprint]
	if chain == nil {
		return &Refusal{When: Unknown, Message: fmt.Sprintf(
			"its certificate %s… is not in the Refinery's Secret, so its issuer is unknown", Truncate(fingerprint, 12))}
	}
	if _, denial := judge.verifyChain(judge.Trust(), chain); denial != nil {
		return &Refusal{When: AtOnce, Reason: denial.Reason, Message: denial.Message}
	}
	return nil
}
