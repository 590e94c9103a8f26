package controllers_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

func leafFingerprint(certificatePEM []byte) string {
	chain, err := pki.ParseCertificates("tls.crt", certificatePEM)
	if err != nil {
		return err.Error()
	}
	return v1alpha1.Fingerprint(chain[0])
}

// rotated tells that a rotation is over for everybody: nobody trusts or presents anything of the former authority.
func (s *site) rotated(former string) bool {
	authority := s.secret(s.authority)
	signing := leafFingerprint(authority.Data[corev1.TLSCertKey])
	if signing == former || len(authority.Data) != 2 || isRotating(s.master()) {
		return false
	}
	a, err := pki.ParseAuthority(authority.Data[corev1.TLSCertKey], authority.Data[corev1.TLSPrivateKeyKey], s.clock.Now())
	s.must(err)
	for _, name := range []string{"alpha-tls", "press-tls", "edge-tls"} {
		secret := s.secret(name)
		chain, err := pki.ParseCertificates("tls.crt", secret.Data[corev1.TLSCertKey])
		if err != nil || !a.Signed(chain[0]) || string(secret.Data[v1alpha1.AuthorityKey]) != string(a.BundlePEM()) {
			return false
		}
	}
	m := s.master()
	return s.presented("press") == 2 && s.presented("edge") == 1 && m.Status.Active != nil &&
		slices.Equal(m.Status.Active.Authorities, []string{signing}) &&
		m.Status.Active.Certificate == leafFingerprint(s.secret("alpha-tls").Data[corev1.TLSCertKey])
}

// replace makes it necessary to replace the authority: by asking for that, or by bringing another one.
func (s *site) replace() {
	s.Helper()
	secret := s.secret(s.authority)
	if s.authority == "alpha-ca" {
		s.annotate(v1alpha1.RotateCAAnnotation, "after "+secret.ResourceVersion)
		return
	}
	pair := newPlantAuthority(s.T)
	secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = pair.Certificate, pair.Key
	s.must(api.Update(s.ctx, secret))
}

func newPlantAuthority(t *testing.T) pki.PEMPair {
	t.Helper()
	pair, err := pki.NewAuthority("plant", v1alpha1.DefaultCADuration, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// rotate has the authority replaced and runs an operator until it is done, or until it stops at a write, and then
// another. It returns what the first one wrote.
func (s *site) rotate(at stop) (writes []string, stopped bool) {
	s.Helper()
	s.clock.SetTime(time.Now())
	s.ahead = 0
	s.must(s.process(stop{}).run(s.ctx, s.T))
	former := leafFingerprint(s.secret(s.authority).Data[corev1.TLSCertKey])
	done := func() bool { return s.rotated(former) }
	s.replace()
	p := s.process(at)
	crash := s.drive(p, done)
	if crash != nil && !errors.Is(crash, errCrash) {
		s.Fatal(crash)
	}
	s.must(s.drive(s.process(stop{}), done))
	s.undisturbed()
	return p.writes.since(0), crash != nil
}

// undisturbed tells that no node was refused, nor found not ready.
func (s *site) undisturbed() {
	s.Helper()
	if diff := cmp.Diff([]string(nil), s.refusals()); diff != "" {
		s.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, n := range s.nodes {
		if count := n.unready.Swap(0); count > 0 {
			s.Errorf("node %s was not ready %d times", n.id, count)
		}
	}
}

func TestAuthorityIsRotatedAlthoughMastersEndInEachPhase(t *testing.T) {
	requireServer(t)
	s := newSite(t)
	former := leafFingerprint(s.secret("alpha-ca").Data[corev1.TLSCertKey])
	ended := map[string]bool{"": true}
	s.annotate(v1alpha1.RotateCAAnnotation, "now")
	s.must(s.drive(s.process(stop{}), func() bool {
		phase := ""
		if c := meta.FindStatusCondition(s.master().Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating); c != nil {
			phase = c.Reason
		}
		if !ended[phase] {
			ended[phase] = true
			s.stopMaster()
			s.startMaster("alpha-" + strings.ToLower(phase))
		}
		return s.rotated(former)
	}))
	if diff := cmp.Diff(map[string]bool{"": true, "Preparing": true, "Activating": true}, ended); diff != "" {
		t.Errorf("phases in which a master ended (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), s.refusals()); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func isRotating(m *v1alpha1.ClusterMaster) bool {
	return meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating) != nil
}

// endState leaves out how many certificates were replaced.
func (s *site) endState() []string {
	s.Helper()
	return slices.DeleteFunc(endState(s.ctx, s.T, s.namespace), func(line string) bool { return line == string(v1alpha1.CertificatePrevious) })
}

func TestAuthorityIsReplacedUnderLiveNodesWhereverTheOperatorStops(t *testing.T) {
	requireServer(t)
	for name, test := range map[string]struct {
		brought []pki.PEMPair
		sites   int
	}{
		"of the operator's making": {nil, 4},
		"brought":                  {[]pki.PEMPair{newPlantAuthority(t)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopAtEachWrite(t, test.sites, test.brought...)
		})
	}
}

// stopAtEachWrite replaces authorities at some sites at once, the operator stopping at another write each time. A
// write that was done and not answered needs no case of its own: it leaves what the next one finds that is not done.
func stopAtEachWrite(t *testing.T, sites int, brought ...pki.PEMPair) {
	reference := newSite(t, brought...)
	writes, _ := reference.rotate(stop{})
	want := reference.endState()
	t.Logf("%d writes: %q", len(writes), writes)

	stops, counts := make(chan stop, len(writes)), map[string]int{}
	for _, write := range writes {
		counts[write]++
		stops <- stop{write, counts[write]}
	}
	close(stops)
	var running sync.WaitGroup
	for range sites {
		running.Go(func() {
			t.Run("site", func(t *testing.T) {
				s := newSite(t, brought...)
				for at := range stops {
					// Reports of nodes that come together make fewer writes of status. Those of Secrets are always the same.
					if _, stopped := s.rotate(at); !stopped && strings.HasPrefix(at.write, "apply ") {
						t.Errorf("did not come to write %v", at)
					}
					if diff := cmp.Diff(want, s.endState()); diff != "" {
						t.Errorf("stopped at %v: end state (-undisturbed +restarted):\n%s", at, diff)
					}
				}
			})
		})
	}
	running.Wait()
}
