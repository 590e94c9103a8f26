package certificates

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// statusTime is when everything happens.
var statusTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// leafCertificate is nothing but a fingerprint and an end.
type leafCertificate struct {
	*x509.Certificate
	fingerprint string
}

func testLeaf(content string) leafCertificate {
	c := &x509.Certificate{Raw: []byte(content), NotAfter: statusTime.Add(v1alpha1.DefaultCertificateDuration)}
	return leafCertificate{c, v1alpha1.Fingerprint(c)}
}

// good is what was found with a condition that says so.
func good(f Finding) *Finding {
	if f.Leaf != nil && f.Condition.Type == "" {
		f.Condition = Ready(v1alpha1.ReasonProvided, "")
	}
	return &f
}

func TestFleetRenewsSpreadOverATenthOfTheDuration(t *testing.T) {
	of := func(spec *v1alpha1.CertificatesSpec) *v1alpha1.ClusterMaster {
		return &v1alpha1.ClusterMaster{Spec: v1alpha1.ClusterMasterSpec{Certificates: spec}}
	}
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		master        *v1alpha1.ClusterMaster
		before, limit time.Duration
	}{
		"default":                     {of(nil), 30 * day, 9 * day},
		"short":                       {of(&v1alpha1.CertificatesSpec{Duration: "2m"}), 40 * time.Second, 12 * time.Second},
		"renewed soon after issuance": {of(&v1alpha1.CertificatesSpec{Duration: "2400h", RenewBefore: "2376h"}), 99 * day, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			slots := map[time.Duration]int{} // tenths of the limit
			for n := range 1000 {
				uid := types.UID(fmt.Sprintf("8e2c4b0e-7d5f-4d0b-9a53-%012d", n))
				early := RenewBefore(test.master, uid) - test.before
				if early < 0 || early >= test.limit {
					t.Fatalf("renewed %v earlier than %v before the end, want less than %v", early, test.before, test.limit)
				}
				if again := RenewBefore(test.master, uid) - test.before; again != early {
					t.Fatalf("%v, then %v", early, again)
				}
				slots[early*10/test.limit]++
			}
			for slot, n := range slots {
				if n < 50 || n > 150 {
					t.Errorf("%d of 1000 renew in tenth %d of the spread", n, slot)
				}
			}
		})
	}
}

func TestReplacedCertificateIsRevokedAtOnceWithoutOverlap(t *testing.T) {
	first, second := testLeaf("first"), testLeaf("second")
	list := List(nil, good(Finding{Leaf: first.Certificate}), Overlap{}, statusTime)
	list = List(list, good(Finding{Leaf: second.Certificate}), Overlap{}, statusTime)
	want := []v1alpha1.ListedCertificate{{Fingerprint: second.fingerprint, NotAfter: metav1.NewTime(second.NotAfter), Use: v1alpha1.CertificateCurrent}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOverlapBeginsWhenTheAuthorityIsReplacedForEverybody(t *testing.T) {
	first, second, third := testLeaf("first"), testLeaf("second"), testLeaf("third")
	listed := func(c leafCertificate, use v1alpha1.CertificateUse) v1alpha1.ListedCertificate {
		return v1alpha1.ListedCertificate{Fingerprint: c.fingerprint, NotAfter: metav1.NewTime(c.NotAfter), Use: use}
	}
	const current, previous = v1alpha1.CertificateCurrent, v1alpha1.CertificatePrevious
	until := func(c v1alpha1.ListedCertificate, end time.Time) v1alpha1.ListedCertificate {
		c.Until = ptr.To(metav1.NewTime(end))
		return c
	}
	provided := func(c v1alpha1.ListedCertificate) v1alpha1.ListedCertificate {
		c.Secret, c.SecretUID = "own", "1"
		return c
	}
	type list = []v1alpha1.ListedCertificate
	theirs := Finding{Leaf: second.Certificate, Secret: "own", SecretUID: "1"}
	for name, test := range map[string]struct {
		before  list
		found   Finding
		overlap Overlap
		want    list
	}{
		"replaced": {list{listed(first, current)}, Finding{Leaf: second.Certificate}, Overlap{time.Hour, true},
			list{listed(second, current), listed(first, previous)}},
		"replaced, with no overlap": {list{listed(first, current)}, Finding{Leaf: second.Certificate}, Overlap{0, true},
			list{listed(second, current), listed(first, previous)}},
		"replaced again": {list{listed(second, current), listed(first, previous)}, Finding{Leaf: third.Certificate}, Overlap{time.Hour, true},
			list{listed(third, current), listed(second, previous), listed(first, previous)}},
		"replaced before": {list{listed(second, current), until(listed(first, previous), statusTime.Add(time.Second))}, Finding{Leaf: second.Certificate}, Overlap{time.Hour, true},
			list{listed(second, current), listed(first, previous)}},
		"its overlap ended before": {list{listed(second, current), until(listed(first, previous), statusTime)}, Finding{Leaf: second.Certificate}, Overlap{time.Hour, true},
			list{listed(second, current)}},
		"over": {list{listed(second, current), listed(first, previous)}, Finding{Leaf: second.Certificate}, Overlap{time.Hour, false},
			list{listed(second, current), until(listed(first, previous), statusTime.Add(time.Hour))}},
		"over, with no overlap": {list{listed(second, current), listed(first, previous)}, Finding{Leaf: second.Certificate}, Overlap{0, false},
			list{listed(second, current)}},
		"provided, replaced": {list{provided(listed(first, current))}, theirs, Overlap{time.Hour, true},
			list{provided(listed(second, current)), provided(listed(first, previous))}},
		"provided, revoked by having no overlap": {list{provided(listed(first, current))}, theirs, Overlap{0, true},
			list{provided(listed(second, current))}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, List(test.before, good(test.found), test.overlap, statusTime)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIssuedCertificateIsNotDueAtOnce(t *testing.T) {
	now := time.Now()
	pair, err := pki.NewAuthority("alpha", v1alpha1.DefaultCADuration, now)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.ParseAuthority(pair.Certificate, pair.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	identity := v1alpha1.RefineryIdentity("alpha", "plant", "press")
	for before, want := range map[time.Duration]string{
		authority.LeafDuration / 3: "",
		authority.LeafDuration:     v1alpha1.ReasonAuthorityConstrained,
	} {
		secret := Issued{Authority: authority, RenewBefore: before, Issue: func() (pki.PEMPair, error) { return authority.IssueClient("press", identity, now) }}
		_, _, err := secret.Renew(Certificate{}, now)
		if p := pki.AsProblem(err); (p == nil) != (want == "") || (p != nil && p.Reason != want) {
			t.Errorf("renewed %s before its end: got %v, want %q", before, err, want)
		}
	}
}

func TestListedCertificates(t *testing.T) {
	first, second := testLeaf("first"), testLeaf("second")
	current := func(c leafCertificate) v1alpha1.ListedCertificate {
		return v1alpha1.ListedCertificate{Fingerprint: c.fingerprint, NotAfter: metav1.NewTime(c.NotAfter), Use: v1alpha1.CertificateCurrent}
	}
	previous := func(c leafCertificate, until time.Time) v1alpha1.ListedCertificate {
		listed := current(c)
		listed.Use, listed.Until = v1alpha1.CertificatePrevious, ptr.To(metav1.NewTime(until))
		return listed
	}
	type list = []v1alpha1.ListedCertificate
	many := list{current(first)}
	for n := range v1alpha1.MaxListedCertificates + 2 {
		p := previous(first, statusTime.Add(time.Minute))
		p.Fingerprint = fmt.Sprint(n)
		many = append(many, p)
	}
	// provided is a certificate as listed from a Secret that the user provides.
	provided := func(c v1alpha1.ListedCertificate, secret, uid string) v1alpha1.ListedCertificate {
		c.Secret, c.SecretUID = secret, types.UID(uid)
		return c
	}
	hour := statusTime.Add(time.Hour)
	tests := map[string]struct {
		before list
		found  Finding
		want   list
	}{
		"replaced in its Secret": {list{provided(current(first), "own", "1")}, Finding{Leaf: second.Certificate, Secret: "own", SecretUID: "1"},
			list{provided(current(second), "own", "1"), provided(previous(first, hour), "own", "1")}},
		"another Secret is named": {list{provided(current(first), "own", "1")}, Finding{Leaf: second.Certificate, Secret: "other", SecretUID: "2"},
			list{provided(current(second), "other", "2"), provided(previous(first, hour), "own", "1")}},
		"issued instead of provided": {list{provided(current(first), "own", "1")}, Finding{Leaf: second.Certificate},
			list{current(second), provided(previous(first, hour), "own", "1")}},
		"provided instead of issued": {list{current(first)}, Finding{Leaf: second.Certificate, Secret: "own", SecretUID: "1"},
			list{provided(current(second), "own", "1"), previous(first, hour)}},
		"first":                 {nil, Finding{Leaf: first.Certificate}, list{current(first)}},
		"unchanged":             {list{current(first)}, Finding{Leaf: first.Certificate}, list{current(first)}},
		"replaced":              {list{current(first)}, Finding{Leaf: second.Certificate}, list{current(second), previous(first, statusTime.Add(time.Hour))}},
		"overlap goes on":       {list{current(second), previous(first, statusTime.Add(time.Second))}, Finding{Leaf: second.Certificate}, list{current(second), previous(first, statusTime.Add(time.Second))}},
		"overlap over":          {list{current(second), previous(first, statusTime)}, Finding{Leaf: second.Certificate}, list{current(second)}},
		"put back":              {list{current(second), previous(first, statusTime.Add(time.Minute))}, Finding{Leaf: first.Certificate}, list{current(first), previous(second, statusTime.Add(time.Hour))}},
		"nothing that parses":   {list{current(first)}, Finding{}, list{current(first)}},
		"not more than allowed": {many, Finding{Leaf: first.Certificate}, many[:v1alpha1.MaxListedCertificates]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, List(test.before, good(test.found), Overlap{Duration: time.Hour}, statusTime)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsInUseStaysListedUntilItsReplacementIsGood(t *testing.T) {
	first, second := testLeaf("first"), testLeaf("second")
	as := func(c leafCertificate, use v1alpha1.CertificateUse, secret string) v1alpha1.ListedCertificate {
		listed := v1alpha1.ListedCertificate{Fingerprint: c.fingerprint, NotAfter: metav1.NewTime(c.NotAfter), Use: use, Secret: secret}
		if secret != "" {
			listed.SecretUID = "1"
		}
		return listed
	}
	const current, previous = v1alpha1.CertificateCurrent, v1alpha1.CertificatePrevious
	expired, overlapping := as(first, current, ""), as(first, previous, "")
	expired.NotAfter, overlapping.Until = metav1.NewTime(statusTime), ptr.To(metav1.NewTime(statusTime.Add(time.Hour)))
	bad := NotReady(v1alpha1.ReasonWrongAuthority, "")
	type list = []v1alpha1.ListedCertificate
	for name, test := range map[string]struct {
		before list
		found  Finding
		want   list
	}{
		"not good in its Secret":                   {list{as(first, current, "own")}, Finding{Leaf: second.Certificate, Secret: "own", SecretUID: "1", Condition: bad}, list{as(first, current, "own")}},
		"not good elsewhere":                       {list{as(first, current, "")}, Finding{Leaf: second.Certificate, Secret: "own", SecretUID: "1", Condition: bad}, list{as(first, current, "")}},
		"turned bad":                               {list{as(first, current, "")}, Finding{Leaf: first.Certificate, Condition: bad}, list{as(first, current, "")}},
		"not good, and the first":                  {nil, Finding{Leaf: first.Certificate, Condition: bad}, list{as(first, current, "")}},
		"not good, and the one in use has expired": {list{expired}, Finding{Leaf: second.Certificate, Condition: bad}, list{as(second, current, "")}},
		"revoked":                     {nil, Finding{Leaf: first.Certificate, Revoked: true, Condition: bad}, nil},
		"revoked, another is in use":  {list{as(second, current, "")}, Finding{Leaf: first.Certificate, Revoked: true, Condition: bad}, list{as(second, current, "")}},
		"not needed":                  {list{as(first, current, "")}, Finding{Unneeded: true}, nil},
		"none in use, one in overlap": {list{overlapping}, Finding{}, list{overlapping}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, List(test.before, good(test.found), Overlap{Duration: time.Hour}, statusTime)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
