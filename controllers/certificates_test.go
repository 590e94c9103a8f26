package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
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
	list := listCertificates(nil, &certificateFound{leaf: first.Certificate}, 0, statusTime)
	list = listCertificates(list, &certificateFound{leaf: second.Certificate}, 0, statusTime)
	want := []v1alpha1.ListedCertificate{{Fingerprint: second.fingerprint, NotAfter: metav1.NewTime(second.NotAfter), Use: v1alpha1.CertificateCurrent}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
