package controllers_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// rotated reports whether a rotation is over for everybody: nobody trusts or presents anything of the former authority.
func (s *plant) rotated(former string) bool {
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
func (s *plant) replace() {
	s.Helper()
	if s.takenAway != "" {
		s.name("alpha-ca")
		return
	}
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
func (s *plant) rotate(at stop) (writes []string, stopped bool) {
	s.Helper()
	s.clock.SetTime(time.Now())
	s.ahead = 0
	s.must(s.process(stop{}).run(s.ctx, s.T))
	former := leafFingerprint(s.secret(s.authority).Data[corev1.TLSCertKey])
	if s.takenAway != "" {
		s.name(s.takenAway)
		s.must(s.drive(s.process(stop{}), func() bool { return s.rotated(former) }))
		former = leafFingerprint(s.secret(s.authority).Data[corev1.TLSCertKey])
		s.clock.SetTime(time.Now())
		s.ahead = 0
	}
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

// undisturbed reports whether no node was refused, nor found not ready.
func (s *plant) undisturbed() {
	s.Helper()
	if diff := cmp.Diff(s.forgotten, s.refusals()); diff != "" {
		s.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, n := range s.nodes {
		if count := n.unready.Swap(0); count > 0 {
			s.Errorf("node %s was not ready %d times", n.id, count)
		}
	}
}

// forget has undisturbed look at what comes from now on.
func (s *plant) forget() {
	s.Helper()
	s.forgotten = s.refusals()
	for _, n := range s.nodes {
		n.unready.Store(0)
	}
}

func TestAuthorityIsRotatedAlthoughMastersEndInEachPhase(t *testing.T) {
	requireServer(t)
	s := newPlant(t)
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
	s.until("ready again", func() bool {
		return !slices.ContainsFunc(s.nodes, func(n *plantNode) bool {
			status, _, err := get(s.ctx, n.health, "/readyz")
			return err != nil || status != http.StatusOK
		})
	})
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

// endState leaves out how many certificates were replaced, and how often the spec was changed.
func (s *plant) endState() []string {
	s.Helper()
	generations := fmt.Sprint(s.master().Generation, 1)
	return slices.DeleteFunc(endState(s.ctx, s.T, s.namespace), func(line string) bool {
		return line == string(v1alpha1.CertificatePrevious) || line == generations
	})
}

func TestAuthorityIsReplacedUnderLiveNodesWhereverTheOperatorStops(t *testing.T) {
	requireServer(t)
	for name, test := range map[string]struct {
		provided  []pki.PEMPair
		takenAway string
		// verb is that of the writes at which to stop.
		verb  string
		sites int
	}{
		"of the operator's making": {nil, "", "", 4},
		"provided":                 {[]pki.PEMPair{newPlantAuthority(t)}, "", "", 2},
		"taken out of the spec":    {nil, "plant-ca", "apply ", 2}, // as provided, but for what is read from Secrets
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopAtEachWrite(t, test.verb, test.sites, func(t *testing.T) *plant {
				s := newPlant(t, test.provided...)
				if s.takenAway = test.takenAway; s.takenAway != "" {
					s.must(api.Create(s.ctx, fixture{s.ctx, s.namespace}.tlsSecret(s.takenAway, newPlantAuthority(t))))
				}
				return s
			})
		})
	}
}

// stopAtEachWrite replaces authorities at some sites at once, the operator stopping at another write each time. A
// write that was done and not answered needs no case of its own: it leaves what the next one finds that is not done.
func stopAtEachWrite(t *testing.T, verb string, sites int, newPlant func(*testing.T) *plant) {
	reference := newPlant(t)
	writes, _ := reference.rotate(stop{})
	want := reference.endState()
	t.Logf("%d writes: %q", len(writes), writes)

	stops, counts := make(chan stop, len(writes)), map[string]int{}
	for _, write := range writes {
		if counts[write]++; strings.HasPrefix(write, verb) {
			stops <- stop{write, counts[write]}
		}
	}
	close(stops)
	var running sync.WaitGroup
	var missed atomic.Int32
	for range sites {
		running.Go(func() {
			t.Run("plant", func(t *testing.T) {
				s := newPlant(t)
				for at := range stops {
					if !s.stopsAt(at, want) {
						missed.Add(1)
						t.Logf("did not come to write %v", at)
					}
				}
			})
		})
	}
	running.Wait()
	if count := int(missed.Load()); count > len(writes)/8 {
		t.Errorf("did not come to %d of %d writes", count, len(writes))
	}
}

// stopsAt reports whether the operator came to stop at a write. Writes of Secrets are always the same. Reports of nodes
// that come together make fewer writes of status: it is tried again until they do not, a few times.
func (s *plant) stopsAt(at stop, want []string) bool {
	s.Helper()
	for range 3 {
		_, stopped := s.rotate(at)
		if diff := cmp.Diff(want, s.endState()); diff != "" {
			s.Errorf("stopped at %v: end state (-undisturbed +restarted):\n%s", at, diff)
		}
		if stopped {
			return true
		}
		if strings.HasPrefix(at.write, "apply ") || at.nth == 1 {
			s.Errorf("did not come to write %v", at)
			return false
		}
	}
	return false
}
