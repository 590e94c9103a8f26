package controllers_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/agent"
)

func (s *plant) refinery(name string) *v1alpha1.Refinery {
	s.Helper()
	r := &v1alpha1.Refinery{}
	s.must(api.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, r))
	return r
}

func (s *plant) changesSecurity() bool {
	s.Helper()
	return meta.FindStatusCondition(s.master().Status.Conditions, v1alpha1.ConditionSecurityChanging) != nil
}

// move starts a node anew, as another pod would be that a Deployment rolls out, and waits until it is authenticated.
func (s *plant) move(node *plantNode, transport agent.Transport) {
	s.Helper()
	s.stopNode(node)
	node.transport = transport
	s.startNode(node)
	s.until(node.id+" ready by "+string(transport), node.ready.Load)
}

// goBack starts a node by a transport that its Refinery has left, and waits until it is refused.
func (s *plant) goBack(node *plantNode, transport agent.Transport) {
	s.Helper()
	s.stopNode(node)
	node.transport = transport
	s.startNode(node)
	s.until("refused", func() bool { return strings.Contains(strings.Join(s.refusals(), " "), v1alpha1.ReasonSecurityChanged) })
}

// The fleet goes through every transport. The nodes move one after the other, and the others stay as they are. One whose Refinery
// has moved to a safer transport does not get in by the former any more, though others still do.
func TestNobodyIsCutOffWhileSecurityChanges(t *testing.T) {
	requireServer(t)
	t.Parallel()
	s := newPlant(t)
	p := s.process(stop{})
	for _, mode := range []v1alpha1.SecurityMode{byServerTLS, byPlaintext, byMutualTLS} {
		s.spec(func(spec *v1alpha1.ClusterMasterSpec) {
			spec.Security = v1alpha1.SecuritySpec{Transport: mode.Transport, Authentication: mode.Authentication}
		})
		s.must(s.drive(p, s.changesSecurity))
		if s.shared == "" { // the Deployment rolls out masters that mount it
			s.shared = s.kubelet.mount(t, "alpha-shared")
			s.must(s.kubelet.bring(s.secret("alpha-shared"), false))
			s.stopMaster()
			s.startMaster("alpha-1")
			s.until("back at the next master", func() bool {
				return !slices.ContainsFunc(s.nodes, func(n *plantNode) bool {
					status, _, err := get(s.ctx, n.health, "/readyz")
					return err != nil || status != http.StatusOK
				})
			})
			s.forget() // what a node notices of a new master is not what this is about
		}
		edge := s.node("edge")
		s.move(edge, agent.Transport(mode.Transport))
		if mode == byMutualTLS {
			s.must(s.drive(p, func() bool {
				return s.refinery("edge").Status.Security != nil && *s.refinery("edge").Status.Security == mode
			}))
			s.undisturbed()
			s.goBack(edge, agent.Plaintext)
			s.move(edge, agent.MutualTLS)
			s.forget()
		}
		for _, id := range []string{"press/a", "press/b"} {
			s.must(s.drive(p, s.changesSecurity))
			s.move(s.node(id), agent.Transport(mode.Transport))
		}
		s.must(s.drive(p, func() bool { return !s.changesSecurity() }))
		for _, name := range plantRefineries {
			if moved := s.refinery(name).Status.Security; moved == nil || *moved != mode {
				t.Errorf("Refinery %s has moved to %v, want %s", name, moved, mode)
			}
			if revoked := s.refinery(name).Status.Revoked; len(revoked) > 0 {
				t.Errorf("Refinery %s has revoked certificates: %v", name, revoked)
			}
		}
		s.undisturbed()
		if mode == byServerTLS {
			s.exchangeShared(p)
		}
	}
}

// exchangeShared has the nodes of a fleet get another shared certificate, each when its kubelet brings it, and ends the overlap.
func (s *plant) exchangeShared(p *process) {
	s.Helper()
	s.clock.SetTime(time.Now().Add(s.ahead)) // the master lets the former one in by its own clock
	former := string(s.secret("alpha-shared").Data[v1alpha1.SharedCertificateKey])
	s.must(api.Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "plant-shared"},
		Data: map[string][]byte{v1alpha1.SharedCertificateKey: []byte("another shared certificate")}}))
	s.spec(func(spec *v1alpha1.ClusterMasterSpec) {
		spec.Security.Overlap = "2m"
		spec.Certificates.Shared = &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-shared"}}
	})
	s.must(s.drive(p, func() bool {
		return string(s.secret("alpha-shared").Data[v1alpha1.SharedFormerKey]) == former
	}))
	for _, n := range s.nodes {
		s.move(n, agent.ServerTLS) // with whichever its directory has by now
	}
	s.ahead += 121 * time.Second
	s.clock.SetTime(s.clock.Now().Add(121 * time.Second))
	s.must(s.drive(p, func() bool { return !s.changesSecurity() }))
	s.until("loaded", func() bool {
		return s.master().Status.Active.SharedGeneration == v1alpha1.SharedGeneration(s.secret("alpha-shared").Data)
	})
	s.undisturbed()
	s.spec(func(spec *v1alpha1.ClusterMasterSpec) { spec.Security.Overlap, spec.Certificates.Shared = "1h", nil })
	s.must(s.drive(p, func() bool { return true }))
}
