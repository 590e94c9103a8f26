package controllers

import (
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
				early := renewBefore(test.master, uid) - test.before
				if early < 0 || early >= test.limit {
					t.Fatalf("renewed %v earlier than %v before the end, want less than %v", early, test.before, test.limit)
				}
				if again := renewBefore(test.master, uid) - test.before; again != early {
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
	authority := testAuthority(t)
	first, second := testLeaf(t, authority), testLeaf(t, authority)
	list := listCertificates(nil, &certificateFound{leaf: first.Certificate}, overlap{}, statusTime)
	list = listCertificates(list, &certificateFound{leaf: second.Certificate}, overlap{}, statusTime)
	want := []v1alpha1.ListedCertificate{{Fingerprint: second.fingerprint, NotAfter: metav1.NewTime(second.NotAfter), Use: v1alpha1.CertificateCurrent}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOverlapBeginsWhenTheAuthorityIsReplacedForEverybody(t *testing.T) {
	authority := testAuthority(t)
	first, second, third := testLeaf(t, authority), testLeaf(t, authority), testLeaf(t, authority)
	listed := func(c leafCertificate, use v1alpha1.CertificateUse) v1alpha1.ListedCertificate {
		return v1alpha1.ListedCertificate{Fingerprint: c.fingerprint, NotAfter: metav1.NewTime(c.NotAfter), Use: use}
	}
	const current, previous = v1alpha1.CertificateCurrent, v1alpha1.CertificatePrevious
	until := func(c v1alpha1.ListedCertificate, end time.Time) v1alpha1.ListedCertificate {
		c.Until = ptr.To(metav1.NewTime(end))
		return c
	}
	brought := func(c v1alpha1.ListedCertificate) v1alpha1.ListedCertificate {
		c.Secret, c.SecretUID = "own", "1"
		return c
	}
	type list = []v1alpha1.ListedCertificate
	theirs := certificateFound{leaf: second.Certificate, secret: "own", secretUID: "1"}
	for name, test := range map[string]struct {
		before  list
		found   certificateFound
		overlap overlap
		want    list
	}{
		"replaced": {list{listed(first, current)}, certificateFound{leaf: second.Certificate}, overlap{time.Hour, true},
			list{listed(second, current), listed(first, previous)}},
		"replaced, with no overlap": {list{listed(first, current)}, certificateFound{leaf: second.Certificate}, overlap{0, true},
			list{listed(second, current), listed(first, previous)}},
		"replaced again": {list{listed(second, current), listed(first, previous)}, certificateFound{leaf: third.Certificate}, overlap{time.Hour, true},
			list{listed(third, current), listed(second, previous), listed(first, previous)}},
		"replaced before": {list{listed(second, current), until(listed(first, previous), statusTime.Add(time.Second))}, certificateFound{leaf: second.Certificate}, overlap{time.Hour, true},
			list{listed(second, current), listed(first, previous)}},
		"its overlap ended before": {list{listed(second, current), until(listed(first, previous), statusTime)}, certificateFound{leaf: second.Certificate}, overlap{time.Hour, true},
			list{listed(second, current)}},
		"over": {list{listed(second, current), listed(first, previous)}, certificateFound{leaf: second.Certificate}, overlap{time.Hour, false},
			list{listed(second, current), until(listed(first, previous), statusTime.Add(time.Hour))}},
		"over, with no overlap": {list{listed(second, current), listed(first, previous)}, certificateFound{leaf: second.Certificate}, overlap{0, false},
			list{listed(second, current)}},
		"its Secret deleted": {list{listed(first, current)}, certificateFound{}, overlap{time.Hour, true}, nil},
		"brought, replaced": {list{brought(listed(first, current))}, theirs, overlap{time.Hour, true},
			list{brought(listed(second, current)), brought(listed(first, previous))}},
		"brought, revoked by having no overlap": {list{brought(listed(first, current))}, theirs, overlap{0, true},
			list{brought(listed(second, current))}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, listCertificates(test.before, &test.found, test.overlap, statusTime)); diff != "" {
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
		secret := issuedSecret{authority: authority, before: before, issue: func() (pki.PEMPair, error) { return authority.IssueClient("press", identity, now) }}
		_, _, err := secret.renew(held{}, now)
		if p := pki.AsProblem(err); (p == nil) != (want == "") || (p != nil && p.Reason != want) {
			t.Errorf("renewed %s before its end: got %v, want %q", before, err, want)
		}
	}
}
