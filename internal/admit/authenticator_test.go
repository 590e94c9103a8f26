package admit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// attempt is what one peer does.
type attempt struct {
	id, version, kind string
	peer              []*x509.Certificate
	presented         string
	bare              bool // without TLS
	// meanwhile happens between conn:establish and auth:start; nil for nothing.
	meanwhile func()
}

func with(certificate tls.Certificate, id string, intermediates ...*x509.Certificate) attempt {
	return attempt{id: id, version: "0.1.0", kind: "refinery", peer: append([]*x509.Certificate{certificate.Leaf}, intermediates...),
		presented: admittest.PEM(certificate.Leaf)}
}

// presenting sends something else in auth:start.
func (at attempt) presenting(certificate string) attempt {
	at.presented = certificate
	return at
}

// try runs an attempt through both decisions.
func (s *scene) try(at attempt) (*Grant, *Denial) {
	a := s.authenticator()
	n := Announced{ID: at.id, Version: at.version, Type: at.kind, TLS: !at.bare, Proof: a.Prove(at.peer)}
	if denial := a.Establish(n); denial != nil {
		return nil, denial
	}
	if at.meanwhile != nil {
		at.meanwhile()
	}
	return a.Authenticate(n, at.presented)
}

// verdict is what a test compares of a decision; Says is a part of the message.
type verdict struct {
	State    v1alpha1.NodeState
	Reason   string
	Refinery string
}

func denied(reason, refinery string) verdict { return verdict{v1alpha1.NodeDenied, reason, refinery} }
func granted(refinery string) verdict        { return verdict{Refinery: refinery} }

// trial is an attempt and what the master decides of it.
type trial struct {
	name string
	try  func(s *scene) attempt
	want verdict
	says string // part of the message
}

func run(t *testing.T, trials []trial, prepare ...func(s *scene)) {
	t.Helper()
	for _, test := range trials {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			for _, p := range prepare {
				p(s)
			}
			grant, denial := s.try(test.try(s))
			check(t, grant, denial, test.want, test.says)
		})
	}
}

// For the five checks and their order see
// docs/development/decisions.md#a-certificate-proves-nothing-until-its-key-is-proven.
func TestWhoPassesTheFiveChecksIsLetIn(t *testing.T) {
	run(t, []trial{
		{"the Refinery's name as id is let in", func(s *scene) attempt { return with(s.press, "press") }, granted("press"), ""},
		{"a node of the Refinery is let in", func(s *scene) attempt { return with(s.press, "press/press-5f6b-abcde") }, granted("press"), ""},
		{"a node with an id as long as can be is let in", func(s *scene) attempt { return with(s.press, "press/"+strings.Repeat("a", 247)) }, granted("press"), ""},
		{"white space around the PEM is nothing", func(s *scene) attempt {
			return with(s.press, "press").presenting("\n " + admittest.PEM(s.press.Leaf) + "\n\n")
		}, granted("press"), ""},
		{"an intermediate of a trusted authority is let in", func(s *scene) attempt {
			middle := s.authority.Intermediate("middle")
			leaf := admittest.Issue(middle, "press")
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, leaf)
			return with(leaf, "press", middle.Certificate)
		}, granted("press"), ""},
		{"the previous certificate is let in while it is listed", func(s *scene) attempt {
			old := admittest.Issue(s.authority, "press")
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Certificates[1].Use = v1alpha1.CertificatePrevious
				r.Status.Certificates[1].Until = &metav1.Time{Time: s.clock.Now().Add(time.Minute)}
			}, s.press, old)
			return with(old, "press")
		}, granted("press"), ""},
	})
}

// A node may take its time between conn:establish, when its chain is verified, and auth:start.
func TestWhatVouchesForANodeHasToDoSoWhenItIsLetIn(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(s *scene)
		want      verdict
	}{
		"nothing happens":        {func(*scene) {}, granted("press")},
		"another is trusted too": {func(s *scene) { s.retrust(pkitest.NewAuthority("new"), s.authority) }, granted("press")},
		"another is trusted":     {func(s *scene) { s.retrust(pkitest.NewAuthority("new")) }, denied(v1alpha1.ReasonWrongAuthority, "press")},
		"it expires":             {func(s *scene) { s.clock.SetTime(s.press.Leaf.NotAfter.Add(time.Second)) }, denied(v1alpha1.ReasonExpired, "press")},
	} {
		for _, security := range []v1alpha1.SecuritySpec{issuedMutualTLS, sharedMutualTLS} {
			t.Run(fmt.Sprintf("%s/%s", name, security.Authentication), func(t *testing.T) {
				s := newScene(t)
				s.share(secret)
				s.secure(security)
				at := with(s.press, "press/a")
				if security == sharedMutualTLS {
					at.presented = secret
				}
				at.meanwhile = func() { test.meanwhile(s) }
				grant, denial := s.try(at)
				check(t, grant, denial, test.want, "")
			})
		}
	}
}

func TestCheck1TheChainIsTrustedValidAndForClients(t *testing.T) {
	run(t, []trial{
		{"no certificate", func(*scene) attempt {
			return attempt{id: "press", version: "0.1.0", kind: "refinery"}
		}, denied(v1alpha1.ReasonDenied, ""), "no certificate"},
		{"another authority", func(s *scene) attempt {
			return with(admittest.Issue(pkitest.NewAuthority("plant"), "press"), "press")
		}, denied(v1alpha1.ReasonWrongAuthority, ""), `issued by "CN=plant" and is not signed by the authority`},
		{"another authority, listed by fingerprint: shown, not let in", func(s *scene) attempt {
			foreign := admittest.Issue(pkitest.NewAuthority("foreign"), "press")
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, foreign)
			return with(foreign, "press/a")
		}, denied(v1alpha1.ReasonWrongAuthority, "press"), `issued by "CN=foreign" and is not signed by the authority`},
		{"self-signed", func(s *scene) attempt {
			self := pkitest.NewAuthority("self")
			self.Certificate.URIs = s.press.Leaf.URIs
			return with(tls.Certificate{Leaf: self.Certificate}, "press")
		}, denied(v1alpha1.ReasonWrongUsage, ""), "that of a certificate authority"},
		{"expired", func(s *scene) attempt {
			s.clock.SetTime(s.press.Leaf.NotAfter.Add(time.Second))
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonExpired, "press"), `the certificate "CN=press" expired on `},
		{"not yet valid", func(s *scene) attempt {
			s.clock.SetTime(s.press.Leaf.NotBefore.Add(-time.Second))
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonNotYetValid, "press"), `the certificate "CN=press" is not valid before`},
		{"for servers only", func(s *scene) attempt {
			c := admittest.Issue(s.authority, "press", func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			})
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, c)
			return with(c, "press")
		}, denied(v1alpha1.ReasonWrongUsage, "press"), "client authentication"},
		{"a constraint of an authority above it", func(s *scene) attempt {
			middle := s.authority.Intermediate("middle", func(c *x509.Certificate) { c.ExcludedURIDomains = []string{".cluster.refinery.dev"} })
			leaf := admittest.Issue(middle, "press")
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, leaf)
			return with(leaf, "press", middle.Certificate)
		}, denied(v1alpha1.ReasonAuthorityConstrained, "press"), "name constraints"},
		{"no trust bundle", func(s *scene) attempt {
			s.trust = nil
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonWrongAuthority, "press"), "no trust bundle"},
	})
}

func TestCheck2TheIdentityIsOneRefineryOfThisMaster(t *testing.T) {
	run(t, []trial{
		{"no URI SAN", func(s *scene) attempt {
			return with(s.authority.Issue(pkitest.Client(), func(c *x509.Certificate) { c.Subject.CommonName = "press"; c.DNSNames = []string{"press"} }), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), "0 URI SANs"},
		{"two URI SANs", func(s *scene) attempt {
			identity := s.press.Leaf.URIs[0].String()
			return with(s.authority.Issue(pkitest.Client(identity, v1alpha1.RefineryIdentity("alpha", "plant", "pump").String())), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), "2 URI SANs"},
		{"the same URI SAN twice", func(s *scene) attempt {
			identity := s.press.Leaf.URIs[0].String()
			return with(s.authority.Issue(pkitest.Client(identity, identity)), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), "2 URI SANs"},
		{"another master's Refinery", func(s *scene) attempt {
			return with(admittest.IssueFor(s.authority, "beta", "plant", "press"), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), "not a Refinery of this master"},
		{"another namespace", func(s *scene) attempt {
			return with(admittest.IssueFor(s.authority, "alpha", "office", "press"), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), ""},
		{"another trust domain", func(s *scene) attempt {
			return with(s.authority.Issue(pkitest.Client("spiffe://alpha.plant.cluster.refinery.dev.evil.example/refinery/press")), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), ""},
		{"a Refinery that does not exist", func(s *scene) attempt {
			return with(admittest.Issue(s.authority, "ghost"), "ghost")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), "not a Refinery of this master"},
		{"percent-encoded", func(s *scene) attempt {
			return with(s.authority.Issue(pkitest.Client(), func(c *x509.Certificate) {
				c.URIs = []*url.URL{{Scheme: "spiffe", Host: "alpha.plant.cluster.refinery.dev", Path: "/refinery/press", RawPath: "/refinery/%70ress"}}
			}), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), ""},
		{"with a query", func(s *scene) attempt {
			return with(s.authority.Issue(pkitest.Client(s.press.Leaf.URIs[0].String()+"?x")), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), ""},
		{"with a longer path", func(s *scene) attempt {
			return with(s.authority.Issue(pkitest.Client(s.press.Leaf.URIs[0].String()+"/../pump")), "press")
		}, denied(v1alpha1.ReasonWrongIdentity, ""), ""},
	})
}

//
func TestCheck3TheCertificatePresentedIsThatOfTheSession(t *testing.T) {
	run(t, []trial{
		{"a stolen certificate sent over one's own TLS session", func(s *scene) attempt {
			return with(s.pump, "press").presenting(admittest.PEM(s.press.Leaf))
		}, denied(v1alpha1.ReasonCertificateMismatch, "pump"), "a certificate other than that of the TLS session"},
		{"nothing", func(s *scene) attempt { return with(s.press, "press").presenting("") }, denied(v1alpha1.ReasonCertificateMismatch, "press"), ""},
		{"two certificates", func(s *scene) attempt {
			return with(s.press, "press").presenting(admittest.PEM(s.press.Leaf) + admittest.PEM(s.pump.Leaf))
		}, denied(v1alpha1.ReasonCertificateMismatch, "press"), ""},
		{"words ahead of it", func(s *scene) attempt {
			return with(s.press, "press").presenting("words\n" + admittest.PEM(s.press.Leaf))
		}, denied(v1alpha1.ReasonCertificateMismatch, "press"), ""},
	})
}

func TestCheck4TheRefineryAllowsAccessAndListsTheCertificate(t *testing.T) {
	run(t, []trial{
		{"not listed", func(s *scene) attempt {
			return with(admittest.Issue(s.authority, "press"), "press")
		}, denied(v1alpha1.ReasonCertificateNotListed, "press"), "status.certificates"},
		{"listed by another Refinery", func(s *scene) attempt {
			stray := admittest.Issue(s.authority, "press")
			s.setRefinery("pump", func(*v1alpha1.Refinery) {}, s.pump, stray)
			return with(stray, "press")
		}, denied(v1alpha1.ReasonCertificateNotListed, "press"), ""},
		{"revoked, even if it is listed", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Revoked = []v1alpha1.RevokedCertificate{{Fingerprint: v1alpha1.Fingerprint(s.press.Leaf), Secret: "press-tls"}}
			}, s.press)
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonRevoked, "press"), "Secret press-tls, which held it, was deleted"},
		{"a previous certificate after its overlap", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Status.Certificates[0].Until = &metav1.Time{Time: s.clock.Now().Add(-time.Second)}
			}, s.press)
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonCertificateNotListed, "press"), ""},
		{"suspended", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonSuspended, "press"), "spec.access"},
		{"being deleted", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.DeletionTimestamp = &metav1.Time{Time: s.clock.Now()} }, s.press)
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonDenied, "press"), "deleted"},
		{"of another master, whatever its certificate says", func(s *scene) attempt {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.MasterRef.Name = "beta" }, s.press)
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonWrongIdentity, "press"), ""},
	})
}

func TestCheck5TheIDIsTheNodesOwn(t *testing.T) {
	for _, id := range []string{"5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40", "press2", "press/", "press/a/b", "Pump", "pumps", "nobody/a", "Schnitzel Nº 7 <é>", strings.Repeat("a", MaxIDBytes)} {
		t.Run(id, func(t *testing.T) {
			s := newScene(t)
			grant, denial := s.try(with(s.press, id))
			check(t, grant, denial, granted("press"), "")
		})
	}
}

func TestCheck5TheIDIsNotOfAnotherRefinery(t *testing.T) {
	for name, test := range map[string]struct{ id, says string }{
		"another Refinery's name":    {"pump", `announces id "pump", which is an id of Refinery pump`},
		"another Refinery's node":    {"pump/a", "which is an id of Refinery pump"},
		"no node after its slash":    {"pump/", ""},
		"a path that begins with it": {"pump/../press", ""},
		"nothing":                    {"", "1 to 253 printable bytes"},
		"a newline at the end":       {"press/a\n", ""},
		"half a character":           {"press/\xc3", ""},
		"a direction of writing":     {"press/\u202e", ""},
		"too long":                   {"press/" + strings.Repeat("a", 248), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			grant, denial := s.try(with(s.press, test.id))
			check(t, grant, denial, denied(v1alpha1.ReasonIDMismatch, "press"), test.says)
		})
	}
}

func TestAMasterWithoutAPolicyThatItKnowsDeniesEverybody(t *testing.T) {
	run(t, []trial{
		{"the ClusterMaster is gone", func(s *scene) attempt {
			s.directory.policy = nil
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonDenied, ""), "no longer exists"},
		{"a kind of authentication of a later release", func(s *scene) attempt {
			s.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Security.Authentication = "Handshake" })
			return with(s.press, "press")
		}, denied(v1alpha1.ReasonDenied, "press"), "does not know"},
	})
}

func check(t *testing.T, grant *Grant, denial *Denial, want verdict, says string) {
	t.Helper()
	var got verdict
	switch {
	case grant != nil && denial != nil:
		t.Fatal("both granted and denied")
	case grant != nil:
		got.Refinery = grant.Refinery
	case denial != nil:
		got = verdict{denial.State, denial.Reason, denial.Refinery}
		if !strings.Contains(denial.Message, says) {
			t.Errorf("message %q does not say %q", denial.Message, says)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

func TestVersionAndType(t *testing.T) {
	mismatch := verdict{v1alpha1.NodeVersionMismatch, v1alpha1.ReasonVersionMismatch, "press"}
	accepted := granted("press")
	tests := []struct {
		name, constraint, announced string
		want                        verdict
		says                        string
	}{
		{"within", ">=0.1.0 <0.2.0", "0.1.7", accepted, ""},
		{"with a leading v", ">=0.1.0 <0.2.0", "v0.1.7", accepted, ""},
		{"above", ">=0.1.0 <0.2.0", "0.3.0", mismatch, `announces version 0.3.0; this master accepts ">=0.1.0 <0.2.0" (spec.protocol.acceptedVersions)`},
		{"the default takes the master's own", "", "0.1.0", accepted, ""},
		{"the default takes the next minor", "", "0.2.0", accepted, ""},
		{"the default takes the next major", "", "1.0.0", accepted, ""},
		{"the default takes a release candidate of the next", "", "0.2.0-rc.1", accepted, ""},
		{"the default takes the first that ever spoke the protocol", "", "0.0.1", accepted, ""},
		{"the default refuses one before that", "", "0.0.0", mismatch, `this master accepts ">=0.0.1-0" (those that speak the protocol; spec.protocol.acceptedVersions changes it)`},
		{"a pre-release of an accepted version", ">=0.1.0 <0.3.0", "0.2.0-rc.1", mismatch, "pre-releases are accepted only if the constraint names one"},
		{"a pre-release that the constraint names", ">=0.2.0-0 <0.3.0", "0.2.0-rc.1", accepted, ""},
		{"no version", ">=0.1.0", "latest", mismatch, `announces version "latest", which is not a semantic version; this master accepts ">=0.1.0"`},
		{"no constraint", "one or two", "0.1.0", mismatch, "no node is let in until it is"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			s.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = test.constraint })
			at := with(s.press, "press/a")
			at.version = test.announced
			grant, denial := s.try(at)
			check(t, grant, denial, test.want, test.says)
		})
	}
	t.Run("another type", func(t *testing.T) {
		s := newScene(t)
		at := with(s.press, "press/a")
		at.kind = "smelter"
		grant, denial := s.try(at)
		check(t, grant, denial, verdict{v1alpha1.NodeVersionMismatch, v1alpha1.ReasonTypeNotAccepted, "press"}, `announces type "smelter"; this master accepts "refinery"`)
	})
	t.Run("of a stranger is attributed to nobody", func(t *testing.T) {
		s := newScene(t)
		at := with(admittest.Issue(pkitest.NewAuthority("x"), "press"), "press/a")
		at.version = "9.0.0"
		grant, denial := s.try(at)
		check(t, grant, denial, verdict{v1alpha1.NodeVersionMismatch, v1alpha1.ReasonVersionMismatch, ""}, "")
	})
}

func TestAConnectionFromBeforeTLSWasAskedForIsDenied(t *testing.T) {
	s := newScene(t)
	s.share("secret")
	at := attempt{id: "press", version: "0.1.0", kind: "refinery", presented: "secret", bare: true}
	s.secure(sharedPlain)
	grant, denial := s.try(at)
	check(t, grant, denial, granted("press"), "")
	s.secure(sharedServerTLS)
	grant, denial = s.try(at)
	check(t, grant, denial, denied(v1alpha1.ReasonSecurityChanged, ""), "connected without TLS")
}

func TestOnlyANodeThatWouldPassAllOtherChecksIsTheRefinerysOwn(t *testing.T) {
	for name, test := range map[string]struct {
		change func(s *scene)
		id     string
		want   bool
	}{
		"listed, with an id that belongs": {func(*scene) {}, "press/a", true},
		"not listed": {func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Status.Certificates = nil })
		}, "press/a", false},
		"suspended": {func(s *scene) {
			s.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, s.press)
		}, "press/a", false},
		"with the id of another": {func(*scene) {}, "pump/a", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			test.change(s)
			at := with(s.press, test.id)
			at.version = "9.0.0"
			_, denial := s.try(at)
			if denial == nil || denial.Own != test.want {
				t.Errorf("denial %+v", denial)
			}
		})
	}
}

func TestACertificateWithoutAVerifiedChainIsDeniedWhateverTheCause(t *testing.T) {
	s := newScene(t)
	chain := [][]*x509.Certificate{{s.press.Leaf}}
	for name, test := range map[string]struct {
		chains [][]*x509.Certificate
		err    error
		says   string
	}{
		"a problem":          {nil, fmt.Errorf("chain: %w", &pki.Problem{Reason: v1alpha1.ReasonExpired, Message: "it expired"}), "it expired"},
		"another error":      {chain, errors.New("no randomness"), "its certificate cannot be verified: no randomness"},
		"no chain, no error": {nil, nil, "its certificate cannot be verified: no chain leads to the trust bundle"},
		"a chain":            {chain, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			vouched, denial := longest(test.chains, test.err)
			if denial == nil {
				denial = &Denial{}
			}
			if denied := test.says != ""; denial.Message != test.says || vouched.NotAfter.IsZero() != denied {
				t.Errorf("vouched until %v, denial %+v", vouched.NotAfter, denial)
			}
		})
	}
}
