package pki

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func authorityPair(t *testing.T) PEMPair {
	t.Helper()
	pair, err := NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestRotationTrustsBothAuthoritiesFromBeginningToEndAndSignsWithOne(t *testing.T) {
	former, next := authorityPair(t), authorityPair(t)
	idle := AuthorityFiles{Current: former}
	preparing := idle.Prepare(next)
	activating := preparing.Activate()
	retired := activating.Retire()
	formerID, nextID := fingerprintOf(t, former), fingerprintOf(t, next)
	tests := map[string]struct {
		files   AuthorityFiles
		phase   RotationPhase
		trusted []string // what signs first
	}{
		"before":     {idle, RotationIdle, []string{formerID}},
		"preparing":  {preparing, RotationPreparing, []string{formerID, nextID}},
		"activating": {activating, RotationActivating, []string{nextID, formerID}},
		"after":      {retired, RotationIdle, []string{nextID}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := test.files.Parse(now)
			if err != nil {
				t.Fatal(err)
			}
			var trusted []string
			for _, c := range a.Certificates {
				trusted = append(trusted, v1alpha1.Fingerprint(c))
			}
			if diff := cmp.Diff([]any{test.phase, test.trusted}, []any{test.files.Phase(), trusted}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			pair, chain := client(t, a)
			if !a.Signed(chain[0]) || a.Staying().VerifyClient(chain, identity, now) != nil {
				t.Errorf("what it issues is not signed by it: %s", pair.Certificate)
			}
			if !a.IsIn(a.BundlePEM()) || a.IsIn(authorityPair(t).Certificate) || a.IsIn(nil) {
				t.Error("a bundle is taken for another")
			}
		})
	}
	if string(activating.Next.Key) != "" || string(retired.Previous) != "" {
		t.Error("something of the former authority is kept")
	}
}

func fingerprintOf(t *testing.T, pair PEMPair) string {
	t.Helper()
	return v1alpha1.Fingerprint(parse(t, pair)[0])
}

func TestAuthorityFilesTellWhatIsWrong(t *testing.T) {
	good, other := authorityPair(t), authorityPair(t)
	for name, test := range map[string]struct {
		files  AuthorityFiles
		now    time.Time
		reason string
	}{
		"good":                 {AuthorityFiles{Current: good, Next: other}, now, ""},
		"what signs is over":   {AuthorityFiles{Current: good, Next: other}, now.Add(v1alpha1.DefaultCADuration + time.Second), v1alpha1.ReasonExpired},
		"the next is no PEM":   {AuthorityFiles{Current: good, Next: PEMPair{Certificate: []byte("x"), Key: other.Key}}, now, v1alpha1.ReasonNotPEM},
		"another's key":        {AuthorityFiles{Current: good, Next: PEMPair{Certificate: other.Certificate, Key: good.Key}}, now, v1alpha1.ReasonKeyMismatch},
		"no key of the next":   {AuthorityFiles{Current: good, Next: PEMPair{Certificate: other.Certificate}}, now, v1alpha1.ReasonSecretKeyMissing},
		"the former is no PEM": {AuthorityFiles{Current: good, Previous: []byte("x")}, now, v1alpha1.ReasonNotPEM},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.files.Parse(test.now)
			if got := reasonOf(err); got != test.reason {
				t.Errorf("got %q (%v), want %q", got, err, test.reason)
			}
		})
	}
}

func TestAuthorityIsReplacedAtTwoThirdsOfItsLife(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	for duration, want := range map[time.Duration]time.Time{
		v1alpha1.DefaultCADuration:     now.Add(v1alpha1.DefaultCADuration / 3 * 2),
		2 * v1alpha1.DefaultCADuration: now.Add(v1alpha1.DefaultCADuration / 3 * 2),
		3 * time.Hour:                  now.Add(2 * time.Hour),
	} {
		if got := a.RotateAt(duration); !got.Equal(want) {
			t.Errorf("caDuration %v: got %v, want %v", duration, got, want)
		}
	}
}
