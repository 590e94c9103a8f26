package controllers_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// spec changes the spec of the ClusterMaster.
func (s *plant) spec(change func(*v1alpha1.ClusterMasterSpec)) {
	s.Helper()
	m := s.master()
	before := m.DeepCopy()
	change(&m.Spec)
	s.must(api.Patch(s.ctx, m, client.MergeFrom(before)))
}

// rotating is reason and message of the condition that tells of a rotation, "" with none.
func (s *plant) rotating() (reason, message string) {
	s.Helper()
	if c := meta.FindStatusCondition(s.master().Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating); c != nil {
		return c.Reason, c.Message
	}
	return "", ""
}

// endure goes through a rotation that has just been made necessary while in each of phases, which are those that give
// nodes new files, nobody brings them to the nodes for far longer than the overlap, and one of these is away meanwhile.
// Nobody may be cut off.
func (s *plant) endure(done func() bool, phases ...string) {
	s.Helper()
	late, away := []string{"edge", "press/a", "press/b"}, s.node("press/b")
	p := s.process(stop{})
	var directories []string
	for _, id := range late {
		directories = append(directories, s.node(id).directory)
	}
	s.kubelet.hold(directories...)
	waitsFor := func(phase, who string) func() bool {
		return func() bool {
			reason, message := s.rotating()
			return reason == phase && strings.Contains(message, "waiting for "+who+"; to continue without")
		}
	}
	for _, phase := range phases {
		s.must(s.drive(p, waitsFor(phase, "edge, press/a, press/b")))
		s.stopNode(away)
		s.must(s.drive(p, waitsFor(phase, "edge, press/a")))
		const wait = 40 * time.Second
		s.ahead += wait
		s.clock.SetTime(s.clock.Now().Add(wait))
		s.must(p.run(s.ctx, s.T))
		s.startNode(away)
		s.must(s.drive(p, waitsFor(phase, "edge, press/a, press/b")))
		s.undisturbed()
		for _, name := range []string{"edge-tls", "press-tls"} {
			s.must(s.kubelet.bring(s.secret(name), true))
		}
	}
	s.must(s.drive(p, func() bool {
		for _, name := range []string{"edge-tls", "press-tls"} { // what is left is the former authority in ca.crt
			s.must(s.kubelet.bring(s.secret(name), true))
		}
		return done()
	}))
	s.undisturbed()
}

func TestNobodyIsCutOffByARotationThatOutlastsTheOverlap(t *testing.T) {
	requireServer(t)
	for name, test := range map[string]struct {
		overlap  string
		provided []pki.PEMPair
		phases   []string
	}{
		"of the operator's making, no overlap": {"0s", nil, []string{v1alpha1.ReasonPreparing, v1alpha1.ReasonActivating}},
		"of the operator's making":             {"10s", nil, []string{v1alpha1.ReasonPreparing, v1alpha1.ReasonActivating}},
		"provided, no overlap":                 {"0s", []pki.PEMPair{newPlantAuthority(t)}, []string{v1alpha1.ReasonPreparing}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPlant(t, test.provided...)
			s.spec(func(spec *v1alpha1.ClusterMasterSpec) {
				if spec.Certificates == nil {
					spec.Certificates = &v1alpha1.CertificatesSpec{}
				}
				spec.Certificates.Overlap = test.overlap
			})
			former := leafFingerprint(s.secret(s.authority).Data[corev1.TLSCertKey])
			s.replace()
			s.endure(func() bool { return s.rotated(former) }, test.phases...)
		})
	}
}

// name has the spec name the Secret of an authority, or, with alpha-ca, none: that is the operator's own.
func (s *plant) name(authority string) {
	s.Helper()
	s.spec(func(spec *v1alpha1.ClusterMasterSpec) {
		if spec.Certificates == nil {
			spec.Certificates = &v1alpha1.CertificatesSpec{}
		}
		spec.Certificates.Authority = &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: authority}}
		if authority == "alpha-ca" {
			spec.Certificates.Authority = nil
		}
	})
	s.authority = authority
}

func TestNobodyIsCutOffWhenAnotherAuthorityIsNamedOrNone(t *testing.T) {
	requireServer(t)
	const own = "alpha-ca"
	plant := []pki.PEMPair{newPlantAuthority(t)}
	for name, test := range map[string]struct {
		provided []pki.PEMPair
		// ways are the authorities that are named one after the other.
		ways []string
	}{
		"own to named, and back":           {nil, []string{"other-ca", own}},
		"named to own, for the first time": {plant, []string{own}},
		"named to another":                 {plant, []string{"other-ca"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPlant(t, test.provided...)
			s.must(api.Create(s.ctx, fixture{s.ctx, s.namespace}.tlsSecret("other-ca", newPlantAuthority(t))))
			for _, way := range test.ways {
				former := leafFingerprint(s.secret(s.authority).Data[corev1.TLSCertKey])
				s.clock.SetTime(time.Now())
				s.ahead = 0
				s.name(way)
				s.spec(func(spec *v1alpha1.ClusterMasterSpec) { spec.Certificates.Overlap = "0s" })
				s.endure(func() bool { return s.rotated(former) }, v1alpha1.ReasonPreparing)
			}
		})
	}
}
