package admit

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Grant is the decision to let a node in, and everything that it rests on: Review checks whether that still holds.
type Grant struct {
	// Refinery the node belongs to.
	Refinery string
	// ID and Type that the node announced.
	ID, Type string
	// Fingerprint of the certificate that the node proved to hold; "" without mutual TLS.
	Fingerprint string
	// Vouched is its chain; zero without mutual TLS.
	Vouched
	// Shared is the SHA-256 of the shared certificate that was presented.
	Shared [sha256.Size]byte
	// Policy it was decided under.
	Policy *Policy
	// Mode is how the node connected.
	Mode v1alpha1.SecurityMode
}

// Directory is what the API server says of a ClusterMaster and the Refineries that name it.
type Directory interface {
	// Policy is that of the ClusterMaster; nil when it does not exist.
	Policy() *Policy
	// Refinery returns the one of that name; nil when it does not exist or names another master.
	Refinery(name string) *v1alpha1.Refinery
	// Membership is that of its Refineries.
	Membership() *Membership
	// Listing returns the names of the Refineries whose status lists this fingerprint.
	Listing(fingerprint string) []string
}

// Authenticator decides who is let in, from the Directory and the certificates in force alone. It fails closed: it denies
// what it cannot check. For the checks and their order see
// docs/development/decisions.md#a-certificate-proves-nothing-until-its-key-is-proven.
type Authenticator struct {
	Directory Directory
	// Trust returns whom the master trusts now; nil while no certificates are loaded.
	Trust func() *Trust
	Clock clock.PassiveClock
}

// Establish checks version and type. It returns nil if conn:startAuth is to answer conn:establish. Review does not check them
// again: a constraint that is narrowed ends no session, and refuses the node when it comes back.
func (a *Authenticator) Establish(n Announced) *Denial {
	policy := a.Directory.Policy()
	if policy == nil {
		return masterGone()
	}
	reason, message := v1alpha1.ReasonVersionMismatch, policy.CheckVersion(n.Version)
	if message == "" {
		reason, message = v1alpha1.ReasonTypeNotAccepted, policy.CheckType(n.Type)
	}
	if message == "" {
		return nil
	}
	return &Denial{State: v1alpha1.NodeVersionMismatch, Reason: reason, Message: message, Refinery: a.Attribute(n), Own: a.Own(n)}
}

// Own reports whether a node would pass every check of its certificate, whatever version and type it announces.
func (a *Authenticator) Own(n Announced) bool {
	refinery := n.Proof.Refinery
	return refinery != "" && a.checkAccess(refinery) == nil && a.checkListed(refinery, n.Proof.Fingerprint) == nil && a.checkID(refinery, n.ID) == nil &&
		a.checkBan(refinery, n.ID, n.Proof.Fingerprint) == nil
}

// Authenticate checks the certificate that auth:start carried. It returns a Grant if auth:ack is to answer.
func (a *Authenticator) Authenticate(n Announced, presented string) (*Grant, *Denial) {
	policy := a.Directory.Policy()
	if policy == nil {
		return nil, masterGone()
	}
	grant, denial := a.authenticate(policy, n, presented)
	if denial != nil {
		denial.State = v1alpha1.NodeDenied
		if denial.Refinery == "" {
			denial.Refinery = a.Attribute(n)
		}
		denial.Stranger = denial.Stranger && denial.Refinery == ""
		return nil, denial
	}
	return grant, nil
}

// authenticate tries the modes that the connection allows. If none lets the node in, the denial is that of the first, unless the
// node would have been let in by a former one before.
func (a *Authenticator) authenticate(policy *Policy, n Announced, presented string) (*Grant, *Denial) {
	var first *Denial
	for _, mode := range policy.modesFor(n) {
		grant, denial := a.by(mode.SecurityMode, n, presented)
		if denial == nil {
			grant.Policy, grant.Mode = policy, mode.SecurityMode
			denial = a.checkMode(grant)
		}
		if denial == nil {
			return grant, nil
		}
		if first == nil || denial.Reason == v1alpha1.ReasonSecurityChanged {
			first = denial
		}
	}
	if first == nil {
		first = withoutTLS(policy)
	}
	return nil, first
}

func (a *Authenticator) by(mode v1alpha1.SecurityMode, n Announced, presented string) (*Grant, *Denial) {
	switch mode.Authentication {
	case v1alpha1.AuthenticationIssuedCertificate:
		return a.issued(n, presented)
	case v1alpha1.AuthenticationSharedCertificate:
		return a.shared(mode, n, presented)
	default:
		return nil, &Denial{Reason: v1alpha1.ReasonDenied,
			Message: fmt.Sprintf("this master does not know spec.security.authentication %q", mode.Authentication)}
	}
}

// issued decides under IssuedCertificate, by five checks in this order. The third is of protocol/spec.md: a certificate
// is public, so only the one whose key TLS has proven counts.
func (a *Authenticator) issued(n Announced, presented string) (*Grant, *Denial) {
	if denial := a.checkChain(n.Proof); denial != nil { // 1
		return nil, denial
	}
	if n.Proof.identity != nil { // 2
		denial := n.Proof.identity.clone()
		denial.Stranger = true
		return nil, denial
	}
	refinery, leaf, fingerprint := n.Proof.Refinery, n.Proof.Leaf, n.Proof.Fingerprint
	if !sameCertificate(presented, leaf) { // 3
		return nil, &Denial{Refinery: refinery, Reason: v1alpha1.ReasonCertificateMismatch,
			Message: "auth:start carries a certificate other than that of the TLS session; the node must send the certificate that it connects with"}
	}
	if denial := a.checkAccess(refinery); denial != nil { // 4
		return nil, denial
	}
	if denial := a.checkBan(refinery, n.ID, fingerprint); denial != nil {
		return nil, denial
	}
	if denial := a.checkListed(refinery, fingerprint); denial != nil {
		return nil, denial
	}
	if denial := a.checkID(refinery, n.ID); denial != nil { // 5
		return nil, denial
	}
	return &Grant{Refinery: refinery, ID: n.ID, Type: n.Type, Fingerprint: fingerprint, Vouched: n.Proof.Vouched}, nil
}

// shared decides under SharedCertificate: everyone who has the shared certificate is let in under the Refinery that the
// Membership gives it. Under mutual TLS that Refinery must list the node's own certificate too, so that revoking it ends access.
func (a *Authenticator) shared(mode v1alpha1.SecurityMode, n Announced, presented string) (*Grant, *Denial) {
	grant := &Grant{ID: n.ID, Type: n.Type}
	if mode.ChecksCertificates() {
		if denial := a.checkChain(n.Proof); denial != nil {
			return nil, denial
		}
		grant.Fingerprint, grant.Vouched = n.Proof.Fingerprint, n.Proof.Vouched
	}
	trust := a.Trust()
	if !trust.HasShared() {
		return nil, &Denial{Reason: v1alpha1.ReasonSharedCertificateMismatch,
			Message: "the master has no shared certificate loaded, so it lets nobody in"}
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(presented)))
	if accepted, _ := trust.accepts(sum, a.Clock.Now()); !accepted {
		return nil, &Denial{Reason: v1alpha1.ReasonSharedCertificateMismatch,
			Message: "auth:start does not carry the shared certificate of this master"}
	}
	grant.Shared = sum
	if !validID(n.ID) {
		return nil, invalidID("")
	}
	name := a.Directory.Membership().Of(n.ID, n.Type)
	if proven := n.Proof.Refinery; proven != "" && proven != name && !mode.ChecksCertificates() {
		return nil, &Denial{Refinery: proven, Reason: v1alpha1.ReasonIDMismatch,
			Message: fmt.Sprintf("its certificate is of Refinery %s, and what it announces is not", proven)}
	}
	if name == "" {
		return nil, ofNone()
	}
	if denial := a.checkAccess(name); denial != nil {
		return nil, denial
	}
	if denial := a.checkBan(name, n.ID, grant.Fingerprint); denial != nil {
		return nil, denial
	}
	if mode.ChecksCertificates() {
		if denial := a.checkListed(name, grant.Fingerprint); denial != nil {
			return nil, denial
		}
	}
	grant.Refinery = name
	return grant, nil
}

// Review says why a session that was let in may not stay, or nil. It checks again everything that can change: the Refinery,
// its access, its listed fingerprints, validity, trust, the shared certificate, spec.security, and whose the id is.
func (a *Authenticator) Review(g *Grant) *Denial {
	denial := a.review(g)
	if denial != nil {
		denial.State, denial.Refinery = v1alpha1.NodeClosed, g.Refinery
	}
	return denial
}

func (a *Authenticator) review(g *Grant) *Denial {
	if denial := a.checkMode(g); denial != nil {
		return denial
	}
	if denial := a.checkAccess(g.Refinery); denial != nil {
		return denial
	}
	if denial := a.checkBan(g.Refinery, g.ID, g.Fingerprint); denial != nil {
		return denial
	}
	if denial := a.checkStillOf(g); denial != nil {
		return denial
	}
	if g.Mode.Authentication == v1alpha1.AuthenticationSharedCertificate {
		if accepted, _ := a.Trust().accepts(g.Shared, a.Clock.Now()); !accepted {
			return &Denial{Reason: v1alpha1.ReasonSharedCertificateMismatch, Message: "the shared certificate of the master changed"}
		}
	}
	if !g.Mode.ChecksCertificates() {
		return nil
	}
	if denial := a.checkVouched(g.Vouched); denial != nil {
		return denial
	}
	return a.checkListed(g.Refinery, g.Fingerprint)
}

// checkChain is check 1 at the moment of the decision: the chain was verified when the node announced itself, and time and
// trust have gone on since.
func (a *Authenticator) checkChain(p Proof) *Denial {
	if denial := p.chainDenial(); denial != nil {
		return denial
	}
	return a.checkVouched(p.Vouched)
}

// checkVouched reports that a chain which was verified before has expired, or that its authority is no longer trusted.
func (a *Authenticator) checkVouched(v Vouched) *Denial {
	if a.Clock.Now().After(v.NotAfter) {
		return v.expired()
	}
	if !a.Trust().vouches(v.Authority) {
		return &Denial{Reason: v1alpha1.ReasonWrongAuthority, Message: "the authority that signed the node's certificate is no longer trusted"}
	}
	return nil
}

// checkAccess is check 4 without the fingerprint: the Refinery exists, names this master and is not suspended.
func (a *Authenticator) checkAccess(refinery string) *Denial {
	policy, r := a.Directory.Policy(), a.Directory.Refinery(refinery)
	switch {
	case policy == nil:
		return masterGone()
	case r == nil || r.DeletionTimestamp != nil:
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonDenied, Message: "the Refinery was deleted"}
	case r.Spec.MasterRef.Name != policy.Name || r.Namespace != policy.Namespace:
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonDenied, Message: "the Refinery names another master"}
	case r.Spec.Access == v1alpha1.AccessSuspended:
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonSuspended, Message: "spec.access is Suspended; set it to Allowed to let its nodes in"}
	}
	return nil
}

func (a *Authenticator) checkListed(refinery, fingerprint string) *Denial {
	end := a.listedUntil(refinery, fingerprint)
	if !end.IsZero() && !a.Clock.Now().After(end) {
		return nil
	}
	if c := a.revocation(refinery, fingerprint); c != nil {
		return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonRevoked,
			Message: fmt.Sprintf("its certificate %s… is revoked: Secret %s, which held it, was deleted; the node must use another one", Truncate(fingerprint, 12), c.Secret)}
	}
	return &Denial{Refinery: refinery, Reason: v1alpha1.ReasonCertificateNotListed,
		Message: fmt.Sprintf("its certificate %s… is not, or no longer, in status.certificates; the node must use the certificate in the Refinery's Secret", Truncate(fingerprint, 12))}
}

// listedUntil is until when a Refinery lets a fingerprint in: the end of the certificate's validity, or that of the overlap in
// which a replaced one is still let in. It is zero if the Refinery does not list it, or says that it is revoked.
func (a *Authenticator) listedUntil(refinery, fingerprint string) (end time.Time) {
	r := a.Directory.Refinery(refinery)
	if r == nil || a.revocation(refinery, fingerprint) != nil {
		return end
	}
	for _, c := range r.Status.Certificates {
		if c.Fingerprint != fingerprint {
			continue
		}
		end = c.NotAfter.Time
		if c.Until != nil && c.Until.Time.Before(end) {
			end = c.Until.Time
		}
	}
	return end
}

func (a *Authenticator) revocation(refinery, fingerprint string) *v1alpha1.RevokedCertificate {
	r := a.Directory.Refinery(refinery)
	if r == nil {
		return nil
	}
	return v1alpha1.RevocationOf(r.Status.Revoked, fingerprint)
}

// Until is when a grant that holds now expires; zero if it does not.
func (a *Authenticator) Until(g *Grant) time.Time {
	end := g.NotAfter
	if listed := a.listedUntil(g.Refinery, g.Fingerprint); !end.IsZero() && listed.Before(end) {
		end = listed
	}
	if _, until := a.Trust().accepts(g.Shared, a.Clock.Now()); !until.IsZero() && (end.IsZero() || until.Before(end)) {
		end = until
	}
	policy := a.Directory.Policy()
	if policy == nil {
		return end
	}
	for _, mode := range policy.Modes {
		if mode.SecurityMode == g.Mode && !mode.Until.IsZero() && (end.IsZero() || mode.Until.Before(end)) {
			end = mode.Until
		}
	}
	return end
}
