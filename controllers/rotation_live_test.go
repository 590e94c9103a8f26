package controllers_test

import (
	"errors"
	"maps"
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
	authority := s.secret("alpha-ca")
	signing := leafFingerprint(authority.Data[corev1.TLSCertKey])
	if signing == former || len(authority.Data) != 2 {
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

// rotate asks for a new authority and runs an operator until it is done, or until it stops at the write with the
// given number. It returns what was written.
func (s *site) rotate(crashAt int) []string {
	s.Helper()
	s.clock.SetTime(time.Now())
	s.ahead = 0
	s.must(s.process(0).run(s.ctx, s.T))
	authority := s.secret("alpha-ca")
	done := func() bool { return s.rotated(leafFingerprint(authority.Data[corev1.TLSCertKey])) }
	s.annotate(v1alpha1.RotateCAAnnotation, "after "+authority.ResourceVersion)
	p := s.process(crashAt)
	if crash := s.drive(p, done); crash != nil && !errors.Is(crash, errCrash) {
		s.Fatal(crash)
	}
	s.must(s.drive(s.process(0), done))
	if diff := cmp.Diff([]string(nil), s.refusals()); diff != "" {
		s.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, n := range s.nodes {
		if count := n.unready.Swap(0); count > 0 {
			s.Errorf("node %s was not ready %d times", n.id, count)
		}
	}
	return p.writes.since(0)
}

func TestAuthorityIsRotatedAlthoughMastersEndInEachPhase(t *testing.T) {
	requireServer(t)
	s := newSite(t)
	former := leafFingerprint(s.secret("alpha-ca").Data[corev1.TLSCertKey])
	ended := map[string]bool{"": true}
	s.annotate(v1alpha1.RotateCAAnnotation, "now")
	s.must(s.drive(s.process(0), func() bool {
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

// endState leaves out how many certificates were replaced.
func (s *site) endState() []string {
	s.Helper()
	return slices.DeleteFunc(endState(s.ctx, s.T, s.namespace), func(line string) bool { return line == string(v1alpha1.CertificatePrevious) })
}

func TestAuthorityIsRotatedUnderLiveNodesWhereverTheOperatorStops(t *testing.T) {
	requireServer(t)
	reference := newSite(t)
	writes := reference.rotate(0)
	want := reference.endState()
	t.Logf("%d writes: %q", len(writes), writes)

	// Reports of the nodes that come together make fewer writes, and more when they do not. A write that was done and
	// not answered needs no case of its own: it leaves what the next one finds that is not done.
	const spare, sites = 3, 4
	stops, stopped := make(chan int, len(writes)+spare), make(chan string, len(writes)+spare)
	for n := range cap(stops) {
		stops <- n + 1
	}
	close(stops)
	var running sync.WaitGroup
	for range sites {
		running.Go(func() {
			t.Run("site", func(t *testing.T) {
				s := newSite(t)
				for n := range stops {
					if written := s.rotate(n); len(written) >= n {
						stopped <- written[n-1]
					}
					if diff := cmp.Diff(want, s.endState()); diff != "" {
						t.Errorf("stopped at write %d: end state (-undisturbed +restarted):\n%s", n, diff)
					}
				}
			})
		})
	}
	running.Wait()
	close(stopped)
	missed := map[string]bool{}
	for _, write := range writes {
		missed[write] = true
	}
	for write := range stopped {
		delete(missed, write)
	}
	if len(missed) > 0 {
		t.Errorf("never stopped at %v", slices.Sorted(maps.Keys(missed)))
	}
}
