package rotation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// statusTime is when everything happens.
var statusTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRotationTellsWhoHoldsItUp(t *testing.T) {
	const incoming = "0123456789abcdef"
	many := Progress{completed: 3, total: 18, unlisted: 3}
	for n := range 12 {
		many.behind = append(many.behind, fmt.Sprintf("press/%02d", 11-n))
	}
	for n := range 7 {
		many.causes = append(many.causes, fmt.Sprintf("cause %d", 6-n))
	}
	tests := map[string]struct {
		rotation *Rotation
		want     string
	}{
		"not looked at": {nil, ""},
		"none":          {&Rotation{State: State{Requested: true}}, ""},
		"everybody seen": {&Rotation{State: State{Phase: pki.RotationPreparing, Began: statusTime}, Progress: Progress{completed: 2, total: 2}},
			"Preparing: 2/2 nodes have been seen to trust the new authority 0123456789ab; pods that report nothing, such as standby masters, have until 2026-03-01T12:00:00Z to load it"},
		"one node": {&Rotation{State: State{Phase: pki.RotationActivating}, Progress: Progress{completed: 1, total: 2, behind: []string{"press/b"}}},
			"Activating: 1/2 nodes have been seen to present a certificate of the new authority 0123456789ab; waiting for press/b; to continue without them, set annotation cluster.refinery.dev/force-ca-rotation: Activating, which cuts off every node that is not ready"},
		"many": {&Rotation{State: State{Phase: pki.RotationPreparing}, Progress: many},
			"Preparing: 3/18 nodes have been seen to trust the new authority 0123456789ab; waiting for press/00, press/01, press/02, press/03, press/04, press/05, press/06, press/07, press/08, press/09, 5 more nodes; " +
				"cause 0; cause 1; cause 2; cause 3; cause 4; 2 more causes; to continue without them, set annotation cluster.refinery.dev/force-ca-rotation: Preparing, which cuts off every node that is not ready"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.rotation != nil {
				test.rotation.Incoming = incoming
			}
			got := ""
			if c, ok := test.rotation.Condition(); ok {
				got = c.Reason + ": " + c.Message
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestThatIsIgnoredSaysWhatToDoInstead(t *testing.T) {
	provided := &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
	issued := &v1alpha1.CertificatesSpec{IssuerRef: &v1alpha1.IssuerReference{Name: "plant", Kind: "Issuer", Group: "cert-manager.io"}}
	for name, test := range map[string]struct {
		asked string
		spec  *v1alpha1.CertificatesSpec
		want  string
	}{
		"the operator's own": {"monday", nil, ""},
		"none":               {"", provided, ""},
		"provided": {"monday", provided, "annotation cluster.refinery.dev/rotate-ca has no effect with certificates.authority: " +
			"put another authority into Secret plant-ca, or name another Secret; remove the annotation"},
		"an issuer's": {"monday", issued, "annotation cluster.refinery.dev/rotate-ca has no effect with certificates.issuerRef: " +
			"have Issuer plant sign with another authority, and then Certificate alpha-tls reissued; remove the annotation"},
	} {
		m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: "alpha", Annotations: map[string]string{v1alpha1.RotateCAAnnotation: test.asked}},
			Spec: v1alpha1.ClusterMasterSpec{Certificates: test.spec}}
		if diff := cmp.Diff(test.want, IgnoredRequest(m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// rotating is an authority in the middle of a rotation, with certificates of the former and of the new one.
type rotating struct {
	files            pki.AuthorityFiles
	authority        *pki.Authority
	former, anew     pki.PEMPair
	formerID, anewID string
}

func newRotating(t *testing.T, phase pki.RotationPhase) rotating {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	current, err := pki.NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, statusTime)
	ok(err)
	next, err := pki.NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, statusTime)
	ok(err)
	r := rotating{files: pki.AuthorityFiles{Current: current}}
	issue := func() (pki.PEMPair, string) {
		a, err := r.files.Parse(statusTime)
		ok(err)
		pair, err := a.IssueClient("press", v1alpha1.RefineryIdentity("alpha", "plant", "press"), statusTime)
		ok(err)
		chain, err := pki.ParseCertificates("tls.crt", pair.Certificate)
		ok(err)
		return pair, v1alpha1.Fingerprint(chain[0])
	}
	r.former, r.formerID = issue()
	if r.files = r.files.Prepare(next); phase == pki.RotationActivating {
		r.files = r.files.Activate()
	}
	r.anew, r.anewID = issue()
	r.authority, err = r.files.Parse(statusTime)
	ok(err)
	return r
}

// nodes are the certificates of nodes by id.
type nodes map[string]string

const in, out = v1alpha1.PlacementInCluster, v1alpha1.PlacementExternal

func refinery(placement v1alpha1.Placement, wanted int32, authenticated nodes) *v1alpha1.Refinery {
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"},
		Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Placement: placement, Replicas: ptr.To(wanted)}}
	r.Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: int32(len(authenticated))}
	counts := map[string]int32{}
	for id, certificate := range authenticated {
		counts[certificate]++
		r.Status.Nodes = append(r.Status.Nodes, v1alpha1.NodeStatus{ID: id, State: v1alpha1.NodeAuthenticated, Certificate: certificate})
	}
	for certificate, count := range counts {
		r.Status.Authenticated.Certificates = append(r.Status.Authenticated.Certificates, v1alpha1.PresentedCertificate{Fingerprint: certificate, Nodes: count})
	}
	return r
}

func paused(r *v1alpha1.Refinery) *v1alpha1.Refinery {
	r.Spec.Paused = true
	return r
}

func suspended(r *v1alpha1.Refinery) *v1alpha1.Refinery {
	r.Spec.Access = v1alpha1.AccessSuspended
	return r
}

func provided(r *v1alpha1.Refinery) *v1alpha1.Refinery {
	r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: "own"}
	return r
}

func secret(name string, pair pki.PEMPair, bundle []byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{
		"tls.crt": pair.Certificate, "tls.key": pair.Key, "ca.crt": bundle}}
}

// signing is the bundle of the authority that signs; it lacks the other one.
func (r rotating) signing() []byte {
	return (&pki.Authority{Certificates: r.authority.Certificates[:1]}).BundlePEM()
}

func TestWhoHasFollowedAPhaseWithACertificateOfTheOperator(t *testing.T) {
	for _, phase := range []pki.RotationPhase{pki.RotationPreparing, pki.RotationActivating} {
		r := newRotating(t, phase)
		anew, former := secret("press-tls", r.anew, r.authority.BundlePEM()), secret("press-tls", r.former, r.signing())
		const reissue = "the certificate of Refinery press to be reissued"
		for name, test := range map[string]struct {
			refinery *v1alpha1.Refinery
			issued   *corev1.Secret
			want     Progress
		}{
			"nobody is there":   {refinery(in, 2, nil), former, Progress{}},
			"all have":          {refinery(in, 2, nodes{"press/a": r.anewID, "press/b": r.anewID}), anew, Progress{completed: 2, total: 2}},
			"one has not":       {refinery(in, 2, nodes{"press/a": r.anewID, "press/b": r.formerID}), anew, Progress{completed: 1, total: 2, behind: []string{"press/b"}}},
			"one is not there":  {refinery(in, 2, nodes{"press/a": r.anewID}), anew, Progress{completed: 1, total: 1}},
			"not issued yet":    {refinery(in, 1, nodes{"press/a": r.formerID}), former, Progress{total: 1, behind: []string{"press/a"}, causes: []string{reissue}}},
			"External, not all": {refinery(out, 3, nodes{"press/a": r.anewID}), anew, Progress{completed: 1, total: 3, causes: []string{"2 nodes of Refinery press with placement External that are not connected: start them, or lower spec.replicas"}}},
			"paused": {paused(refinery(in, 1, nodes{"press/a": r.formerID})), former, Progress{total: 1, behind: []string{"press/a"},
				causes: []string{"Refinery press, which is paused: its certificate is not reissued"}}},
			"suspended": {suspended(refinery(in, 1, nodes{"press/a": r.formerID})), former, Progress{}},
		} {
			t.Run(fmt.Sprintf("%s/%s", phase, name), func(t *testing.T) { follow(t, r, phase, test.refinery, test.issued, nil, test.want) })
		}
	}
}

func TestWhoHasFollowedAPhaseWithAProvidedCertificate(t *testing.T) {
	for _, phase := range []pki.RotationPhase{pki.RotationPreparing, pki.RotationActivating} {
		r := newRotating(t, phase)
		bare, former, anew := secret("own", r.former, nil), secret("own", r.former, r.signing()), secret("own", r.anew, r.authority.BundlePEM())
		byPhase := func(inPreparing, inActivating Progress) Progress {
			return map[pki.RotationPhase]Progress{pki.RotationPreparing: inPreparing, pki.RotationActivating: inActivating}[phase]
		}
		lost := byPhase(Progress{}, Progress{causes: []string{"Refinery press: put a certificate into Secret own that the new authority signed: its nodes, of which none is connected, could not connect again"}})
		behind := Progress{total: 1, behind: []string{"press/a"}, causes: []string{"Refinery press: put a certificate into Secret own that the new authority signed"}}
		for name, test := range map[string]struct {
			refinery *v1alpha1.Refinery
			named    *corev1.Secret
			want     Progress
		}{
			"in pods":                    {refinery(in, 1, nodes{"press/a": r.formerID}), bare, byPhase(Progress{unobservable: true}, behind)},
			"nobody is there":            {refinery(in, 2, nil), bare, lost},
			"nobody is there, put right": {refinery(in, 2, nil), secret("own", r.anew, nil), Progress{}},
			"nobody is there, gone":      {refinery(in, 2, nil), nil, Progress{}},
			"nobody is there, no good":   {refinery(in, 2, nil), secret("own", pki.PEMPair{}, nil), Progress{}},
			"none is wanted":             {refinery(out, 0, nil), bare, lost},
			"put right":                  {refinery(out, 1, nodes{"press/a": r.anewID}), anew, Progress{completed: 1, total: 1}},
			"External": {refinery(out, 1, nodes{"press/a": r.formerID}), former,
				byPhase(Progress{total: 1, causes: []string{"Refinery press: put all certificates of ca.crt of Secret alpha-tls into ca.crt of Secret own, and copy that to its nodes"}}, behind)},
			"gone":      {refinery(out, 1, nodes{"press/a": r.formerID}), nil, Progress{total: 1, causes: []string{"Refinery press: gone"}}},
			"suspended": {suspended(refinery(in, 1, nodes{"press/a": r.formerID})), bare, lost},
		} {
			t.Run(fmt.Sprintf("%s/%s", phase, name), func(t *testing.T) { follow(t, r, phase, provided(test.refinery), nil, test.named, test.want) })
		}
	}
}

// using has a Refinery use the certificate in its status, from a Secret that is named, or the operator's own.
func using(r *v1alpha1.Refinery, fingerprint, secret string) *v1alpha1.Refinery {
	r.Status.Certificates = []v1alpha1.ListedCertificate{{Fingerprint: fingerprint, Secret: secret, Use: v1alpha1.CertificateCurrent,
		NotAfter: metav1.NewTime(statusTime.Add(time.Hour))}}
	return r
}

func TestACertificateThatStaysInUseCountsAndNotTheOneThatIsAskedFor(t *testing.T) {
	r := newRotating(t, pki.RotationActivating)
	former := secret("press-tls", r.former, r.signing())
	own := secret("own", r.former, nil)
	spoilt := []string{"Refinery press: Secret own does not hold the certificate that is in use, " + r.formerID[:12] +
		"…, so that nobody can tell which authority its nodes need: put in a good one"}
	for name, test := range map[string]struct {
		refinery      *v1alpha1.Refinery
		issued, named *corev1.Secret
		want          Progress
	}{
		"issued, and a Secret is named that is missing": {provided(using(refinery(in, 1, nodes{"press/a": r.formerID}), r.formerID, "")), former, nil,
			Progress{total: 1, behind: []string{"press/a"}, causes: []string{"the certificate of Refinery press to be reissued"}}},
		"provided, and it is to be issued": {using(refinery(in, 1, nodes{"press/a": r.formerID}), r.formerID, "own"), nil, own,
			Progress{total: 1, behind: []string{"press/a"}, causes: []string{"Refinery press: put a certificate into Secret own that the new authority signed"}}},
		"spoilt, and nobody is there":  {provided(using(refinery(in, 2, nil), r.formerID, "own")), nil, secret("own", pki.PEMPair{}, nil), Progress{causes: spoilt}},
		"another, and nobody is there": {provided(using(refinery(in, 2, nil), r.formerID, "own")), nil, secret("own", r.anew, nil), Progress{causes: spoilt}},
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, r, pki.RotationActivating, test.refinery, test.issued, test.named, test.want)
		})
	}
}

func follow(t *testing.T, r rotating, phase pki.RotationPhase, refinery *v1alpha1.Refinery, issued, named *corev1.Secret, want Progress) {
	t.Helper()
	f := &count{master: &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}, phase: phase,
		authority: r.authority, now: statusTime, issued: map[string]*corev1.Secret{"press-tls": issued},
		provided: func(context.Context, string, string) (*corev1.Secret, error) {
			if named == nil {
				return nil, &pki.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: "gone"}
			}
			return named, nil
		}}
	if err := f.of(t.Context(), refinery); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, f.Progress, cmp.AllowUnexported(Progress{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPodsThatShowNothingAreGivenTheTimeOfAKubelet(t *testing.T) {
	const short = 2 * time.Minute
	for name, test := range map[string]struct {
		duration     time.Duration
		unobservable bool
		want         time.Duration
	}{
		"standby masters":                     {v1alpha1.DefaultCertificateDuration, false, 2 * time.Minute},
		"standby masters, short certificates": {short, false, 30 * time.Second},
		"pods that serve":                     {v1alpha1.DefaultCertificateDuration, true, 2 * time.Minute},
		"pods that serve, short certificates": {short, true, 2 * time.Minute},
	} {
		s := State{Began: statusTime, LeafDuration: test.duration}
		if got := s.settledAt(Progress{unobservable: test.unobservable}); !got.Equal(statusTime.Add(test.want)) {
			t.Errorf("%s: settled after %v, want %v", name, got.Sub(statusTime), test.want)
		}
	}
}

func TestActiveMasterIsWaitedFor(t *testing.T) {
	for _, phase := range []pki.RotationPhase{pki.RotationPreparing, pki.RotationActivating} {
		r := newRotating(t, phase)
		all := []string{v1alpha1.Fingerprint(r.authority.Certificates[0]), v1alpha1.Fingerprint(r.authority.Certificates[1])}
		tests := map[string]struct {
			active   *v1alpha1.ActiveMaster
			replicas int32
			want     []string
		}{
			"none was active": {nil, 2, nil},
			"scaled to none":  {&v1alpha1.ActiveMaster{Pod: "alpha-0"}, 0, nil},
			"behind": {&v1alpha1.ActiveMaster{Pod: "alpha-0", Certificate: r.formerID, Authorities: all[:1]}, 2,
				[]string{map[pki.RotationPhase]string{pki.RotationPreparing: "the active master alpha-0, which has yet to load it",
					pki.RotationActivating: "the active master alpha-0, which has yet to serve a certificate of it"}[phase]}},
			"has followed": {&v1alpha1.ActiveMaster{Pod: "alpha-0", Certificate: r.anewID, Authorities: all}, 2, nil},
		}
		for name, test := range tests {
			m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: "alpha"}, Spec: v1alpha1.ClusterMasterSpec{Replicas: &test.replicas}}
			m.Status.Active = test.active
			f := &count{master: m, phase: phase, authority: r.authority, issued: map[string]*corev1.Secret{"alpha-tls": {
				Data: map[string][]byte{"tls.crt": r.anew.Certificate, "tls.key": r.anew.Key, "ca.crt": r.authority.BundlePEM()}}}}
			f.ofMaster()
			if diff := cmp.Diff(test.want, f.causes); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", phase, name, diff)
			}
		}
	}
}
