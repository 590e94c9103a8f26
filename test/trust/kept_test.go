package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// visitor connects over and over with one certificate, beside the node that holds its session.
type visitor struct {
	*live
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	visits  int
	refused []error
}

// visit begins to connect, 20 times a second.
func (p *plant) visit(refinery, address string) *visitor {
	p.Helper()
	ctx, stop := context.WithCancel(p.Context())
	v := &visitor{live: p.live(refinery, refinery+"/held", "0.1.0", address), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				err := v.once()
				v.mu.Lock()
				v.visits++
				if err != nil {
					v.refused = append(v.refused, err)
				}
				v.mu.Unlock()
			}
		}
	}()
	return v
}

func (v *visitor) once() error {
	conn, err := (&tls.Dialer{Config: v.config}).DialContext(v.Context(), "tcp", v.address)
	if err != nil {
		return err
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = v.refinery+"/visitor", v.version, "refinery", v.certificate
	c, err := protocol.Handshake(v.Context(), conn, o)
	if err != nil {
		return err
	}
	return c.Close()
}

// end ends the visits.
func (v *visitor) end() {
	v.stop()
	<-v.done
}

// undisturbed requires that every visit was let in, of which there are some since the last time, and that the session is held.
func (v *visitor) undisturbed(during string) {
	v.Helper()
	v.mu.Lock()
	before := v.visits
	v.mu.Unlock()
	v.until("visits of "+v.refinery, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.visits > before+2
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.refused) > 0 || v.over() {
		v.Errorf("%s: %s: %d of %d visits refused, the first by %v; session over: %v", during, v.refinery, len(v.refused), v.visits, v.refused[:min(1, len(v.refused))], v.over())
	}
	v.refused = nil
}

func (p *plant) name(refinery, secret string) {
	p.Helper()
	reference := `null`
	if secret != "" {
		reference = `{"name": "` + secret + `"}`
	}
	p.must(api.Patch(p.Context(), p.refinery(refinery, "alpha"), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"certificateSecretRef":`+reference+`}}`))))
}

func (p *plant) fill(secret string, pair pki.PEMPair) {
	p.Helper()
	s := p.secret(secret)
	s.Data = map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}
	p.must(api.Update(p.Context(), s))
}

// slips is a master with two Refineries: press, whose certificate the operator issued, and mill, whose is provided.
type slips struct {
	*plant
	press, mill *visitor
	own         pki.PEMPair // of mill
	foreign     pki.PEMPair
}

func newSlips(t *testing.T) *slips {
	t.Helper()
	s := &slips{plant: newPlant(t)}
	s.createMaster("alpha", v1alpha1.ClusterMasterSpec{})
	mill := s.refinery("mill", "alpha")
	mill.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: "mill-tls"}
	var err error
	s.own, err = s.authority("alpha").IssueClient("mill", mill.Identity(), time.Now())
	s.must(err)
	s.foreign, err = pki.NewAuthority("foreign", time.Hour, time.Now())
	s.must(err)
	for _, o := range []client.Object{s.tlsSecret("mill-tls", s.own), s.refinery("press", "alpha"), mill} {
		s.must(api.Create(t.Context(), o))
	}
	s.listed("mill", s.own)
	address := s.master("alpha")
	s.press, s.mill = s.visit("press", address), s.visit("mill", address)
	s.undisturbed("nothing")
	return s
}

func (s *slips) undisturbed(during string) {
	s.Helper()
	s.press.undisturbed(during)
	s.mill.undisturbed(during)
}

func TestASlipCostsNoNodeItsSessionAndNoneItsReturn(t *testing.T) {
	s := newSlips(t)
	const ready = v1alpha1.ConditionCertificateReady
	s.name("press", "press-own")
	s.conditionIs("press", ready, "False")
	s.undisturbed("a Secret is named that does not exist")
	s.must(api.Create(t.Context(), s.tlsSecret("press-own", s.foreign)))
	s.undisturbed("a Secret is named that holds something else")
	s.name("press", "")
	s.conditionIs("press", ready, "True")
	s.undisturbed("the slip is taken back")

	for what, pair := range map[string]pki.PEMPair{"its Secret is emptied": {}, "its Secret is half written": {Certificate: s.own.Certificate}, "its Secret is of another authority": s.foreign} {
		s.fill("mill-tls", pair)
		s.conditionIs("mill", ready, "False")
		s.undisturbed(what)
		s.fill("mill-tls", s.own)
		s.conditionIs("mill", ready, "True")
		s.undisturbed(what + ", and put right")
	}

	s.must(api.Delete(t.Context(), s.secret("alpha-ca")))
	s.until("another authority prepared", func() bool {
		m := &v1alpha1.ClusterMaster{}
		return api.Get(t.Context(), s.key("alpha"), m) == nil && meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating)
	})
	s.kubelet("alpha-tls")
	s.loaded("alpha", func(s *v1alpha1.ClusterMasterStatus) bool { return len(s.Active.Authorities) == 2 })
	s.undisturbed("the authority's Secret is deleted")

	s.press.end()
	s.must(api.Delete(t.Context(), s.secret("press-tls")))
	s.until("the session over whose Secret was deleted", s.press.over)
	if err := s.press.once(); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("a revoked certificate is answered with %v", err)
	}
	s.mill.undisturbed("another's Secret is deleted")
	s.mill.end()
}
