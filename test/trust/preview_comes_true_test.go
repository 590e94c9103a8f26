package trust

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// prediction is a change that is asked about and then made.
type prediction struct {
	name string
	// files and flags of the question.
	args []string
	// want is what the answer has to be.
	want map[string]admit.When
	// make it, and wait until the master goes by it.
	make func()
}

// comesTrue asks about a change, makes it, and compares what became of every node with what was predicted.
func (p *plant) comesTrue(clusterMaster string, nodes []*live, f prediction) {
	p.Helper()
	p.reported(nodes...)
	predicted := p.predicted(clusterMaster, f.args...)
	if diff := cmp.Diff(f.want, predicted, cmpopts.EquateEmpty()); diff != "" {
		p.Errorf("%s: what was predicted (-want +got):\n%s", f.name, diff)
	}
	f.make()
	for _, n := range nodes {
		if predicted[n.id] == admit.AtOnce {
			p.until("the session of "+n.id+" ended", n.over)
		}
	}
	became := map[string]admit.When{}
	for _, n := range nodes {
		if fate := n.fate(); fate != "" {
			became[n.id] = fate
		}
	}
	if diff := cmp.Diff(predicted, became); diff != "" {
		p.Errorf("%s: what became of the nodes (-predicted +became):\n%s", f.name, diff)
	}
	p.Logf("%-60s predicted and done: %v", f.name, became)
}

func (p *plant) newAuthority(name string) pki.PEMPair {
	p.Helper()
	pair, err := pki.NewAuthority(name, v1alpha1.DefaultCADuration, time.Now())
	p.must(err)
	return pair
}

func (p *plant) fingerprint(pair pki.PEMPair) string { return v1alpha1.Fingerprint(leafOf(p.T, pair)) }

// TestWhatAPreviewPredictsComesTrueWhenAnAuthorityIsReplaced goes from the operator's own authority to one that is provided, to
// another one, back, and to one without its key while it narrows the versions.
func TestWhatAPreviewPredictsComesTrueWhenAnAuthorityIsReplaced(t *testing.T) {
	p := newPlant(t)
	p.createMaster("alpha", v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.1.0"}})
	p.must(api.Create(t.Context(), p.refinery("press", "alpha")))
	p.must(api.Create(t.Context(), p.refinery("pump", "alpha")))
	address := p.master("alpha")
	p.kubelet("alpha-tls")
	nodes := []*live{p.live("press", "press/a", "0.1.0", address), p.live("press", "press/b", "0.2.0", address), p.live("pump", "pump", "0.2.0", address)}

	own, first, second := v1alpha1.Fingerprint(p.authority("alpha").Certificates[0]), p.newAuthority("first"), p.newAuthority("second")
	p.must(api.Create(t.Context(), p.tlsSecret("plant-ca", first)))
	named := func(m *v1alpha1.ClusterMaster) {
		m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
	}
	unnamed := func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil }
	narrower := func(m *v1alpha1.ClusterMaster) {
		named(m)
		m.Spec.Protocol.AcceptedVersions = ">=0.2.0"
	}
	trusting := func(all ...string) func() {
		return func() {
			p.loaded("alpha", func(s *v1alpha1.ClusterMasterStatus) bool {
				trusted := slices.Sorted(slices.Values(s.Active.Authorities))
				return slices.Equal(trusted, slices.Sorted(slices.Values(s.Authorities))) &&
					!slices.ContainsFunc(all, func(a string) bool { return !slices.Contains(trusted, a) })
			})
		}
	}
	refused := map[string]admit.When{"press/a": admit.OnReturn}
	without := pki.PEMPair{Certificate: second.Certificate}
	for _, f := range []prediction{
		{"the operator's own authority gives way to one that is provided", []string{"-f", p.edited("alpha", named)}, nil, func() {
			p.edit("alpha", named)
			trusting(own, p.fingerprint(first))()
		}},
		{"a provided authority gives way to another", []string{"-f", p.manifest(p.tlsSecret("plant-ca", second))}, nil, func() {
			p.must(api.Update(t.Context(), p.tlsSecret("plant-ca", second)))
			trusting(own, p.fingerprint(first), p.fingerprint(second))()
		}},
		{"a provided authority gives way to the operator's own", []string{"-f", p.edited("alpha", unnamed)}, nil, func() {
			p.edit("alpha", unnamed)
			trusting(own, p.fingerprint(first), p.fingerprint(second))()
		}},
		{"an authority without its key is named while versions are narrowed", []string{"-f", p.edited("alpha", narrower), "-f", p.manifest(p.tlsSecret("plant-ca", without))}, refused, func() {
			p.must(api.Update(t.Context(), p.tlsSecret("plant-ca", without)))
			p.edit("alpha", narrower)
			p.until("press/a refused", func() bool { return nodes[0].connect() != nil })
			trusting(own, p.fingerprint(first), p.fingerprint(second))()
		}},
	} {
		p.comesTrue("alpha", nodes, f)
	}
}

// TestWhatAPreviewPredictsComesTrueWhenAProvidedBundleChanges takes an authority out of the bundle of a master whose authority
// came without its key.
func TestWhatAPreviewPredictsComesTrueWhenAProvidedBundleChanges(t *testing.T) {
	p := newPlant(t)
	first, second := p.newAuthority("first"), p.newAuthority("second")
	both := slices.Concat(first.Certificate, second.Certificate)
	p.must(api.Create(t.Context(), p.tlsSecret("plant-ca", pki.PEMPair{Certificate: both})))
	p.createMaster("beta", v1alpha1.ClusterMasterSpec{Certificates: &v1alpha1.CertificatesSpec{
		Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}})
	served := p.provided("beta-tls", func(a *pki.Authority) (pki.PEMPair, error) {
		m := &v1alpha1.ClusterMaster{}
		m.Namespace, m.Name = p.namespace, "beta"
		return a.IssueServer("beta", resource.MasterDNSNames(m, ""), time.Now())
	}, first, both)
	p.must(api.Create(t.Context(), served))
	for name, authority := range map[string]pki.PEMPair{"press": first, "pump": second} {
		r := p.refinery(name, "beta")
		r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: name + "-tls"}
		p.must(api.Create(t.Context(), p.provided(name+"-tls", func(a *pki.Authority) (pki.PEMPair, error) {
			return a.IssueClient(name, r.Identity(), time.Now())
		}, authority, both)))
		p.must(api.Create(t.Context(), r))
	}
	address := p.master("beta")
	p.kubelet("beta-tls")
	nodes := []*live{p.live("press", "press", "0.1.0", address), p.live("pump", "pump", "0.1.0", address)}

	less := served.DeepCopy()
	less.Data[v1alpha1.AuthorityKey] = first.Certificate
	less.ResourceVersion, less.UID = "", ""
	for _, f := range []prediction{
		{"the authority that is named loses one, and the bundle none", []string{"-f", p.manifest(p.tlsSecret("plant-ca", pki.PEMPair{Certificate: first.Certificate}))}, nil, func() {
			p.must(api.Update(t.Context(), p.tlsSecret("plant-ca", pki.PEMPair{Certificate: first.Certificate})))
			p.edit("beta", func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.MaxSessions = 100 }) // the pass that observes this has read the Secret
			p.loaded("beta", func(s *v1alpha1.ClusterMasterStatus) bool { return len(s.Active.Authorities) == 2 })
		}},
		{"an authority is taken out of the bundle", []string{"-f", p.manifest(less)}, map[string]admit.When{"pump": admit.AtOnce}, func() {
			p.must(api.Update(t.Context(), less))
			p.loaded("beta", func(s *v1alpha1.ClusterMasterStatus) bool { return len(s.Active.Authorities) == 1 })
		}},
	} {
		p.comesTrue("beta", nodes, f)
	}
}

// provided is a Secret with what a person's authority issued, and a trust bundle beside it.
func (p *plant) provided(name string, issue func(*pki.Authority) (pki.PEMPair, error), by pki.PEMPair, bundle []byte) *corev1.Secret {
	p.Helper()
	authority, err := pki.ParseAuthority(by.Certificate, by.Key, time.Now())
	p.must(err)
	pair, err := issue(authority)
	p.must(err)
	secret := p.tlsSecret(name, pair)
	secret.Data[v1alpha1.AuthorityKey] = bundle
	return secret
}

// edited is a manifest of a ClusterMaster as an edit would leave it.
func (p *plant) edited(name string, edit func(*v1alpha1.ClusterMaster)) string {
	p.Helper()
	m := &v1alpha1.ClusterMaster{}
	p.must(api.Get(p.Context(), p.key(name), m))
	edit(m)
	return p.manifest(&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}, Spec: m.Spec})
}

func (p *plant) edit(name string, edit func(*v1alpha1.ClusterMaster)) {
	p.Helper()
	m := &v1alpha1.ClusterMaster{}
	p.must(api.Get(p.Context(), p.key(name), m))
	before := m.DeepCopy()
	edit(m)
	p.must(api.Patch(p.Context(), m, client.MergeFrom(before)))
}
