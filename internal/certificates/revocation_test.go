package certificates

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func listedFrom(fingerprint, secret string, uid types.UID, use v1alpha1.CertificateUse) v1alpha1.ListedCertificate {
	return v1alpha1.ListedCertificate{Fingerprint: fingerprint, NotAfter: metav1.NewTime(statusTime.Add(time.Hour)), Use: use, Secret: secret, SecretUID: uid}
}

func revokedFrom(fingerprint, secret string, left time.Duration) v1alpha1.RevokedCertificate {
	return v1alpha1.RevokedCertificate{Fingerprint: fingerprint, NotAfter: metav1.NewTime(statusTime.Add(left)), Secret: secret, Since: metav1.NewTime(statusTime)}
}

func TestWhatADeletedSecretRevokes(t *testing.T) {
	const current, previous = v1alpha1.CertificateCurrent, v1alpha1.CertificatePrevious
	type listed = []v1alpha1.ListedCertificate
	type revoked = []v1alpha1.RevokedCertificate
	a, b, issued := listedFrom("a", "own", "1", current), listedFrom("b", "own", "1", previous), listedFrom("c", "", "9", previous)
	dead := a
	dead.NotAfter = metav1.NewTime(statusTime)
	old := issued
	old.SecretUID = ""
	for name, test := range map[string]struct {
		listed  listed
		revoked revoked
		gone    string // names of Secrets
		readmit string
		want    Standing
	}{
		"nothing is gone":          {listed{a, b, issued}, nil, "", "", Standing{Listed: listed{a, b, issued}}},
		"everything of one Secret": {listed{a, b, issued}, nil, "own", "", Standing{Listed: listed{issued}, Revoked: revoked{revokedFrom("a", "own", time.Hour), revokedFrom("b", "own", time.Hour)}}},
		"the operator's own":       {listed{a, issued}, nil, "press-tls", "", Standing{Listed: listed{a}, Revoked: revoked{revokedFrom("c", "press-tls", time.Hour)}}},
		"stays revoked":            {nil, revoked{revokedFrom("x", "own", time.Second)}, "", "", Standing{Revoked: revoked{revokedFrom("x", "own", time.Second)}}},
		"is listed no more":        {listed{a}, revoked{revokedFrom("a", "own", time.Hour)}, "", "", Standing{Revoked: revoked{revokedFrom("a", "own", time.Hour)}}},
		"expires":                  {nil, revoked{revokedFrom("x", "own", 0)}, "", "", Standing{}},
		"had expired":              {listed{dead}, nil, "own", "", Standing{}},
		"listed without a UID":     {listed{old}, nil, "", "", Standing{Listed: listed{issued}}},
		"another has its name":     {listed{listedFrom("a", "own", "0", current)}, nil, "", "", Standing{Revoked: revoked{revokedFrom("a", "own", time.Hour)}}},
		"is let in again":          {nil, revoked{revokedFrom("x", "own", time.Hour), revokedFrom("y", "own", time.Hour)}, "", "x", Standing{Revoked: revoked{revokedFrom("y", "own", time.Hour)}}},
		"several are":              {nil, revoked{revokedFrom("x", "own", time.Hour), revokedFrom("y", "own", time.Hour)}, "", "X,\n y", Standing{}},
		"and goes with its Secret": {listed{a, issued}, nil, "own", "a", Standing{Listed: listed{issued}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Name: "press"}, Status: v1alpha1.RefineryStatus{Certificates: test.listed, Revoked: test.revoked}}
			if test.readmit != "" {
				r.Annotations = map[string]string{v1alpha1.ReadmitAnnotation: test.readmit}
			}
			uidOf := func(c v1alpha1.ListedCertificate) types.UID {
				switch r.ListedFrom(&c) {
				case test.gone:
					return ""
				case "press-tls":
					return "9"
				}
				return "1"
			}
			got := Revoke(r, uidOf, statusTime)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutRoomWhatIsRevokedStaysRefusedUntilThereIsSome(t *testing.T) {
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Name: "press"}}
	for n := range v1alpha1.MaxRevokedCertificates - 1 {
		r.Status.Revoked = append(r.Status.Revoked, revokedFrom(fmt.Sprint(n), "own", time.Minute+time.Duration(n)*time.Second))
	}
	r.Status.Certificates = []v1alpha1.ListedCertificate{listedFrom("a", "own", "1", v1alpha1.CertificateCurrent), listedFrom("b", "own", "1", v1alpha1.CertificatePrevious)}
	gone := func(v1alpha1.ListedCertificate) types.UID { return "" }

	s := Revoke(r, gone, statusTime)
	refused := listedFrom("b", "own", "1", v1alpha1.CertificatePrevious)
	refused.Until = ptr.To(metav1.NewTime(statusTime))
	if diff := cmp.Diff([]v1alpha1.ListedCertificate{refused}, s.Listed); diff != "" || s.Unrecorded != 1 || len(s.Revoked) != v1alpha1.MaxRevokedCertificates || s.Revocation("a") == nil {
		t.Fatalf("unrecorded %d, revoked %d, listed (-want +got):\n%s", s.Unrecorded, len(s.Revoked), diff)
	}
	if got, want := s.FirstEnd(), statusTime.Add(time.Minute); !got.Equal(want) {
		t.Errorf("there is room at %v, want %v", got, want)
	}
	r.Status.Certificates, r.Status.Revoked = s.Listed, s.Revoked
	if again := Revoke(r, gone, statusTime); !cmp.Equal(again, s) {
		t.Errorf("another pass changes it:\n%s", cmp.Diff(s, again))
	}
	if s = Revoke(r, gone, s.FirstEnd()); s.Unrecorded != 0 || s.Listed != nil || s.Revocation("b") == nil {
		t.Errorf("with room: unrecorded %d, listed %v, revoked %v", s.Unrecorded, s.Listed, s.Revocation("b"))
	}
}

func TestWhatStaysInUseIsShown(t *testing.T) {
	first, second := testLeaf("first"), testLeaf("second")
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Name: "press"}}
	bad := NotReady(v1alpha1.ReasonWrongAuthority, "wrong")
	current := func(secret string) []v1alpha1.ListedCertificate {
		return []v1alpha1.ListedCertificate{listedFrom(first.fingerprint, secret, "1", v1alpha1.CertificateCurrent)}
	}
	for name, test := range map[string]struct {
		found  Finding
		listed []v1alpha1.ListedCertificate
		want   string
	}{
		"good":              {Finding{Wanted: "own", Leaf: first.Certificate, Condition: Ready(v1alpha1.ReasonProvided, "fine")}, current("own"), "True fine"},
		"bad, and in use":   {Finding{Wanted: "own", Leaf: first.Certificate, Condition: bad}, current("own"), "False wrong"},
		"nothing is in use": {Finding{Wanted: "own", Condition: bad}, nil, "False wrong"},
		"of another Secret": {Finding{Wanted: "own", Leaf: first.Certificate, Condition: Ready(v1alpha1.ReasonIssued, "fine"), Instead: &bad}, current(""),
			"False wrong; until then the certificate in Secret press-tls stays in use"},
		"of the same Secret": {Finding{Wanted: "own", Leaf: second.Certificate, Condition: bad}, current("own"),
			"False wrong; until then certificate " + first.fingerprint[:12] + "…, which the Secret held before, is let in, and expires at 2026-03-01T13:00:00Z"},
		"of the same Secret, which is empty": {Finding{Wanted: "own", Condition: bad}, current("own"),
			"False wrong; until then certificate " + first.fingerprint[:12] + "…, which the Secret held before, is let in, and expires at 2026-03-01T13:00:00Z"},
		"nothing is known of what is asked for": {Finding{Wanted: "own", Leaf: first.Certificate, Condition: Ready(v1alpha1.ReasonIssued, "fine")}, current(""), "True fine"},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.found.Shown(r, test.listed)
			if got := strings.Join([]string{string(c.Status), c.Message}, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
