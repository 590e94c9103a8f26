package controllers_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// writesPerStep bounds what the operator writes after one change of a campaign: everything that a ClusterMaster and two
// Refineries own, and their status a few times.
const writesPerStep = 40

// campaign makes random changes of a ClusterMaster, two Refineries and their Secrets, with a person's slips among them. It knows
// who must be let in and who must not, whatever the operator writes. Nodes run outside of the cluster, and the master's decisions
// are asked of what the API server holds.
type campaign struct {
	*rapid.T
	ctx       context.Context
	namespace string
	clock     *clocktesting.FakePassiveClock
	operator  *process
	// refineries by name.
	refineries map[string]*campaignRefinery
	// known are all certificates that there ever were, by fingerprint.
	known map[string]*known
	// moving is until when nodes with certificates are let in although spec.security wants none; zero with no such time.
	moving time.Time
	bare   bool // spec.security wants no certificates
}

// known is one certificate, and whose it is.
type known struct {
	chain []*x509.Certificate
	// good reports whether it is one of refinery, signed by the ClusterMaster's authority, and valid.
	good     bool
	refinery string
}

// campaignRefinery is what has to be true of a Refinery.
type campaignRefinery struct {
	name      string
	suspended bool
	paused    bool
	// wanted is the Secret that the spec names.
	wanted string
	// current is the fingerprint that has to be let in; "" for none. from is the Secret that it was read from.
	current, from string
	// before are those that current took the place of, and until when these are let in.
	before map[string]time.Time
	source map[string]string // the Secret of each of them, and of current
	// revoked must not be let in.
	revoked map[string]bool
}

func (c *campaign) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *campaign) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: c.namespace, Name: name}
}

// secret is one by name, or nil.
func (c *campaign) secret(name string) *corev1.Secret {
	c.Helper()
	secret := &corev1.Secret{}
	if err := api.Get(c.ctx, c.key(name), secret); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		c.Fatal(err)
	}
	return secret
}

func (c *campaign) editMaster(edit func(*v1alpha1.ClusterMaster)) {
	c.Helper()
	m := &v1alpha1.ClusterMaster{}
	c.must(api.Get(c.ctx, c.key("alpha"), m))
	edit(m)
	c.must(api.Update(c.ctx, m))
}

func (c *campaign) editRefinery(name string, edit func(*v1alpha1.Refinery)) {
	c.Helper()
	r := &v1alpha1.Refinery{}
	c.must(api.Get(c.ctx, c.key(name), r))
	edit(r)
	c.must(api.Update(c.ctx, r))
}

func (c *campaign) restart() {
	c.operator = newProcessAt(c.namespace, 0, false, c.clock, slices.Sorted(maps.Keys(c.refineries))...)
}

// settle lets the operator work until it has nothing to write.
func (c *campaign) settle() {
	c.Helper()
	began := c.operator.writes.total()
	for range 20 {
		before := c.operator.writes.total()
		for _, reconcile := range c.operator.reconciles {
			c.must(reconcile(c.ctx))
		}
		if total := c.operator.writes.total(); total == before {
			if total-began > writesPerStep {
				c.Fatalf("%d writes for one change: %v", total-began, c.operator.writes.since(began))
			}
			return
		}
	}
	c.Fatalf("still writing after 20 rounds: %v", c.operator.writes.since(began))
}

// remember notes a certificate.
func (c *campaign) remember(pair pki.PEMPair, refinery string, good bool) string {
	c.Helper()
	block, _ := pem.Decode(pair.Certificate)
	leaf, err := x509.ParseCertificate(block.Bytes)
	c.must(err)
	fingerprint := v1alpha1.Fingerprint(leaf)
	if c.known[fingerprint] == nil {
		c.known[fingerprint] = &known{[]*x509.Certificate{leaf}, good, refinery}
	}
	return fingerprint
}

// content is what a person puts into the Secret of a Refinery.
func (c *campaign) content(refinery, kind string) map[string][]byte {
	c.Helper()
	ca := c.secret("alpha-ca")
	authority, err := pki.ParseAuthority(ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey], c.clock.Now())
	c.must(err)
	authority.LeafDuration = v1alpha1.DefaultCertificateDuration
	for_, by := refinery, authority
	switch kind {
	case "empty":
		return nil
	case "garbage":
		return map[string][]byte{corev1.TLSCertKey: []byte("oops"), corev1.TLSPrivateKeyKey: []byte("oops")}
	case "of another Refinery":
		for_ = map[string]string{"press": "pump", "pump": "press"}[refinery]
	case "foreign":
		pair, err := pki.NewAuthority("foreign", v1alpha1.DefaultCADuration, c.clock.Now())
		c.must(err)
		by, err = pki.ParseAuthority(pair.Certificate, pair.Key, c.clock.Now())
		c.must(err)
		by.LeafDuration = v1alpha1.DefaultCertificateDuration
	}
	issued := c.clock.Now()
	if kind == "expired" {
		by.LeafDuration = time.Minute
		issued = issued.Add(-time.Hour)
	}
	pair, err := by.IssueClient(for_, v1alpha1.RefineryIdentity("alpha", c.namespace, for_), issued)
	c.must(err)
	c.remember(pair, refinery, kind == "good" || kind == "half")
	data := map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}
	if kind == "half" {
		delete(data, corev1.TLSPrivateKeyKey)
	}
	return data
}

// fill puts something into a Secret, which it makes if there is none.
func (c *campaign) fill(name string, data map[string][]byte) {
	c.Helper()
	if secret := c.secret(name); secret != nil {
		secret.Data = data
		c.must(api.Update(c.ctx, secret))
		return
	}
	c.must(api.Create(c.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}, Data: data}))
}

// holds is the certificate in a Secret, if it may take the place of another: it is whole, and good for the Refinery.
func (c *campaign) holds(r *campaignRefinery, name string) string {
	c.Helper()
	secret := c.secret(name)
	if secret == nil || len(secret.Data[corev1.TLSPrivateKeyKey]) == 0 {
		return ""
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return ""
	}
	owner, issued := strings.CutSuffix(name, "-tls")
	fingerprint := c.remember(pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey]}, owner, issued)
	if k := c.known[fingerprint]; !k.good || k.refinery != r.name || r.revoked[fingerprint] {
		return ""
	}
	return fingerprint
}

// expect brings what has to be true up to what the Secrets hold now. It is called when the operator has settled.
func (c *campaign) expect() {
	c.Helper()
	now := c.clock.Now()
	unneeded := c.bare && !now.Before(c.moving)
	for _, r := range c.refineries {
		for fingerprint, until := range r.before {
			if !now.Before(until) {
				delete(r.before, fingerprint)
			}
		}
		if r.paused || c.refused(r) {
			continue
		}
		if unneeded {
			r.current, r.from, r.before = "", "", map[string]time.Time{}
			continue
		}
		in := r.wanted
		if c.holds(r, in) == "" && r.from != "" {
			in = r.from // which the operator goes on issuing
		}
		if found := c.holds(r, in); found != "" && found != r.current {
			if r.current != "" {
				r.before[r.current] = now.Add(v1alpha1.DefaultOverlap)
			}
			delete(r.before, found)
			r.current, r.from = found, in
			r.source[found] = in
		}
	}
}

// refused reports whether a Refinery names a Secret that is not for it. Then it is as if it were paused.
func (c *campaign) refused(r *campaignRefinery) bool {
	return r.wanted == "alpha-ca" || r.wanted == "alpha-tls" || (strings.HasSuffix(r.wanted, "-tls") && r.wanted != r.name+"-tls")
}

// gone is what follows when a Secret was deleted.
func (c *campaign) gone(name string) {
	for _, r := range c.refineries {
		for _, fingerprint := range append(slices.Collect(maps.Keys(r.before)), r.current) {
			if fingerprint == "" || r.source[fingerprint] != name {
				continue
			}
			r.revoked[fingerprint] = true
			delete(r.before, fingerprint)
			if r.current == fingerprint {
				r.current, r.from = "", ""
			}
		}
	}
}

// judge asks the master's own code who is let in, by what the API server holds.
func (c *campaign) judge() {
	c.Helper()
	m := &v1alpha1.ClusterMaster{}
	c.must(api.Get(c.ctx, c.key("alpha"), m))
	served := c.secret("alpha-tls")
	anchors, err := pki.ParseCertificates(v1alpha1.AuthorityKey, served.Data[v1alpha1.AuthorityKey])
	c.must(err)
	trust := new(admit.Trust).WithAnchors(anchors)
	d := campaignDirectory{admit.NewPolicy(m), map[string]*v1alpha1.Refinery{}}
	for name := range c.refineries {
		r := &v1alpha1.Refinery{}
		c.must(api.Get(c.ctx, c.key(name), r))
		d.refineries[name] = r
	}
	a := &admit.Authenticator{Directory: d, Trust: func() *admit.Trust { return trust }, Clock: c.clock}
	in := func(refinery, fingerprint string) error {
		chain := c.known[fingerprint].chain
		n := admit.Announced{ID: refinery, Version: "0.1.0", Type: "refinery", TLS: true, Proof: a.Prove(chain)}
		_, denial := a.Authenticate(n, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0].Raw})))
		if denial != nil {
			return errors.New(denial.Reason + ": " + denial.Message)
		}
		return nil
	}
	for name, r := range c.refineries {
		for fingerprint, k := range c.known {
			why := in(name, fingerprint)
			_, former := r.before[fingerprint]
			mustBeIn := (fingerprint == r.current || former) && !r.suspended && (!c.bare || c.clock.Now().Before(c.moving))
			if mustBeIn && why != nil {
				c.Errorf("%s must be let in with %.12s: %v", name, fingerprint, why)
			}
			if !mustBeIn && why == nil && (r.revoked[fingerprint] || r.suspended || !k.good || k.refinery != name) {
				c.Errorf("%s is let in with %.12s (%+v, revoked %v, suspended %v)", name, fingerprint, k.good, r.revoked[fingerprint], r.suspended)
			}
		}
	}
	if c.Failed() {
		for name, r := range c.refineries {
			c.Logf("%s: %+v", name, *r)
			for _, l := range d.refineries[name].Status.Certificates {
				c.Logf("lists %s %.12s of %q until %v", l.Use, l.Fingerprint, l.Secret, l.Until)
			}
			for _, k := range d.refineries[name].Status.Conditions {
				c.Logf("%s=%s/%s: %s", k.Type, k.Status, k.Reason, k.Message)
			}
		}
		c.FailNow()
	}
}

type campaignDirectory struct {
	policy     *admit.Policy
	refineries map[string]*v1alpha1.Refinery
}

func (d campaignDirectory) Policy() *admit.Policy                   { return d.policy }
func (d campaignDirectory) Refinery(name string) *v1alpha1.Refinery { return d.refineries[name] }
func (d campaignDirectory) Listing(string) []string                 { return nil }
func (d campaignDirectory) Membership() *admit.Membership {
	return admit.NewMembership(slices.Collect(maps.Values(d.refineries)))
}

// step makes one random change.
func (c *campaign) step() {
	c.Helper()
	r := c.refineries[rapid.SampledFrom([]string{"press", "pump"}).Draw(c.T, "refinery")]
	own := r.name + "-" + rapid.SampledFrom([]string{"own", "new"}).Draw(c.T, "Secret")
	switch what := rapid.SampledFrom([]string{"name", "name", "fill", "fill", "delete", "delete issued", "suspend", "pause", "rotate", "lose the authority",
		"restart", "wait", "wait longer", "readmit", "security"}).Draw(c.T, "change"); what {
	case "name":
		r.wanted = rapid.SampledFrom([]string{own, own, r.name + "-tls", "misspelt", "alpha-ca", "alpha-tls", map[string]string{"press": "pump", "pump": "press"}[r.name] + "-tls"}).Draw(c.T, "name")
		c.editRefinery(r.name, func(o *v1alpha1.Refinery) {
			o.Spec.CertificateSecretRef = nil
			if r.wanted != r.name+"-tls" {
				o.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: r.wanted}
			}
		})
	case "fill":
		kind := rapid.SampledFrom([]string{"good", "good", "good", "empty", "half", "garbage", "expired", "foreign", "of another Refinery"}).Draw(c.T, "content")
		c.fill(own, c.content(r.name, kind))
	case "delete", "delete issued":
		name := map[string]string{"delete": own, "delete issued": r.name + "-tls"}[what]
		if secret := c.secret(name); secret != nil {
			c.must(api.Delete(c.ctx, secret))
			c.gone(name)
		}
	case "suspend":
		r.suspended = !r.suspended
		c.editRefinery(r.name, func(o *v1alpha1.Refinery) {
			o.Spec.Access = map[bool]v1alpha1.Access{true: v1alpha1.AccessSuspended, false: v1alpha1.AccessAllowed}[r.suspended]
		})
	case "pause":
		r.paused = !r.paused
		c.editRefinery(r.name, func(o *v1alpha1.Refinery) { o.Spec.Paused = r.paused })
	case "rotate":
		c.editMaster(func(m *v1alpha1.ClusterMaster) {
			m.Annotations = map[string]string{v1alpha1.RotateCAAnnotation: m.ResourceVersion}
		})
	case "lose the authority":
		c.must(api.Delete(c.ctx, c.secret("alpha-ca")))
	case "restart":
		c.restart()
	case "wait":
		c.clock.SetTime(c.clock.Now().Add(20 * time.Minute))
	case "wait longer":
		c.clock.SetTime(c.clock.Now().Add(61 * time.Minute))
	case "readmit":
		c.editRefinery(r.name, func(o *v1alpha1.Refinery) {
			o.Annotations = map[string]string{v1alpha1.ReadmitAnnotation: strings.Join(slices.Sorted(maps.Keys(r.revoked)), ",")}
		})
		c.settle()
		r.revoked = map[string]bool{}
		c.editRefinery(r.name, func(o *v1alpha1.Refinery) { o.Annotations = nil })
	case "security":
		c.secure(rapid.Bool().Draw(c.T, "bare"))
	}
}

// secure has spec.security want certificates or none. Those that nodes have are let in for the overlap in any case.
func (c *campaign) secure(bare bool) {
	c.Helper()
	if bare && !c.bare {
		c.moving = c.clock.Now().UTC().Truncate(time.Second).Add(v1alpha1.DefaultOverlap)
	}
	c.bare = bare
	c.editMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Security.Transport, m.Spec.Security.Authentication = v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationIssuedCertificate
		if bare {
			m.Spec.Security.Transport, m.Spec.Security.Authentication = v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate
		}
	})
}

// run is one sequence of twelve changes.
func (c *campaign) run() {
	c.settle()
	c.clock.SetTime(c.clock.Now().Add(2 * time.Hour)) // so that the authority can sign what has expired since
	c.settle()
	c.expect()
	c.judge()
	for range 12 {
		c.step()
		c.settle()
		c.expect()
		c.judge()
	}
	c.restart() // whoever remembers nothing comes to the same end
	c.settle()
	if writes := c.operator.writes.since(0); len(writes) > 0 {
		c.Fatalf("an operator that starts anew writes: %v", writes)
	}
}

// TestWhateverPeopleDoWhoMustBeInIsInAndNobodyElse is short by default. RAPID_CHECKS is the number of sequences.
func TestWhateverPeopleDoWhoMustBeInIsInAndNobodyElse(t *testing.T) {
	requireServer(t)
	if os.Getenv("RAPID_CHECKS") == "" {
		if err := flag.Set("rapid.checks", "4"); err != nil {
			t.Fatal(err)
		}
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // the seed reproduces it
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		namespace, err := newNamespace(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		c := &campaign{T: rt, ctx: t.Context(), namespace: namespace, clock: clocktesting.NewFakePassiveClock(time.Now().Truncate(time.Second)),
			refineries: map[string]*campaignRefinery{}, known: map[string]*known{}}
		c.must(api.Create(c.ctx, &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alpha"}}))
		for _, name := range []string{"press", "pump"} {
			c.refineries[name] = &campaignRefinery{name: name, wanted: name + "-tls", before: map[string]time.Time{}, source: map[string]string{}, revoked: map[string]bool{}}
			c.must(api.Create(c.ctx, &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Placement: v1alpha1.PlacementExternal}}))
		}
		c.restart()
		c.run()
	})
}
