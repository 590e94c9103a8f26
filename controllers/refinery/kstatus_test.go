package refinery

import (
	"errors"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// row is what kstatus makes of a row of the conditions page, and a pass that leaves it.
type row struct {
	want   string
	change func(*pass)
	err    error
}

// certificate has a reason in condition CertificateReady.
func certificate(status metav1.ConditionStatus, reason string) func(*pass) {
	return func(s *pass) {
		s.certificate.Condition = reconcile.NewCondition(v1alpha1.ConditionCertificateReady, status, reason, "")
	}
}

// What is applied together comes in any order: a tool waits for what may still come, and does not for what needs a person.
func TestToolsSeeEveryRowOfTheConditionsPage(t *testing.T) {
	rows := rowsOfPods()
	maps.Copy(rows, rowsOfReasons())
	passtest.Covers(t, []string{"Ready", "Available", "CertificateReady", "CertificateInSync", "CertificateExpiring", "Authenticated"}, rows,
		"Ready/NoActiveMaster", "Ready/InvalidVersions", "Ready/AuthorityUnproven") // a ClusterMaster's
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := passOf(row.change)
			s.refinery.Status = s.status(reconcile.OutcomeOf(row.err, 0))
			kind, reason, _ := strings.Cut(name, "/")
			if c := passtest.Shown(s.refinery.Status.Conditions)[kind]; !strings.HasSuffix(c, "/"+reason) {
				t.Fatalf("%s is %q", kind, c)
			}
			passtest.Tools(t, controllers.KindRefinery, s.refinery, row.want)
		})
	}
}

// failing has a pod fail to start.
func failing(reason string, d *appsv1.Deployment) func(*pass) {
	return func(s *pass) {
		s.deployment, s.pods.Failure = d, &reconcile.PodFailure{Reason: reason, Message: "container app of pod press-a: why"}
	}
}

// presenting has the nodes present the current certificate, or another.
func presenting(current bool) func(*pass) {
	return func(s *pass) {
		s.refinery.Status.Certificates = []v1alpha1.ListedCertificate{{Fingerprint: "current", Use: v1alpha1.CertificateCurrent}}
		s.certificate = &certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonIssued, ""), ReadOnly: true}
		presented := map[bool]string{true: "current", false: "older"}[current]
		s.refinery.Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 2, Wanted: 2, Summary: "2/2",
			Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: presented, Nodes: 2}}}
	}
}

func TestToolsWaitForWhatWasNotLookedAtYet(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.Refinery){
		"a new object, as the CRD fills it in": func(r *v1alpha1.Refinery) { r.Status = v1alpha1.RefineryStatus{ObservedGeneration: -1} },
		"a changed spec":                       func(r *v1alpha1.Refinery) { r.Generation++ },
	} {
		t.Run(name, func(t *testing.T) {
			s := passOf(nil)
			s.refinery.Status = s.status(reconcile.Outcome{})
			change(s.refinery)
			passtest.Tools(t, controllers.KindRefinery, s.refinery, "InProgress")
		})
	}
}

// rowsOfPods are those of conditions Ready and Available, and of what a pass has found besides.
func rowsOfPods() map[string]row {
	stalled := func(reason string) error { return &reconcile.StalledError{Reason: reason} }
	rows := map[string]row{
		"Ready/Ready":                    {"Current", nil, nil},
		"Ready/Progressing":              {"InProgress", func(s *pass) { s.deployment = passtest.Deployed(1) }, nil},
		"Ready/Paused":                   {"Failed", func(s *pass) { s.refinery.Spec.Paused = true }, nil},
		"Ready/MasterNotFound":           {"InProgress", nil, &reconcile.WaitError{Reason: v1alpha1.ReasonMasterNotFound}},
		"Ready/NotAuthenticated":         {"InProgress", authenticated(metav1.ConditionFalse, v1alpha1.ReasonConnecting), nil},
		"Ready/CertificateNotReady":      {"Failed", certificate(metav1.ConditionFalse, v1alpha1.ReasonNotPEM), nil},
		"Ready/NameConflict":             {"Failed", nil, &apply.ConflictError{}},
		"Ready/Contested":                {"Failed", nil, &apply.ContestedError{}},
		"Ready/InvalidTemplate":          {"Failed", nil, &resource.TemplateError{}},
		"Ready/InvalidReference":         {"Failed", nil, stalled(v1alpha1.ReasonInvalidReference)},
		"Ready/Rejected":                 {"Failed", nil, apierrors.NewForbidden(schema.GroupResource{}, "press", errors.New("a policy"))},
		"Ready/ProgressDeadlineExceeded": {"Failed", func(s *pass) { s.deployment = passtest.Late(1) }, nil},
		"Ready/TooManyRevoked":           {"Failed", nil, stalled(v1alpha1.ReasonTooManyRevoked)},
		"Ready/Error":                    {"InProgress", nil, errors.New("failed")},

		"Available/Available":   {"Current", nil, nil},
		"Available/Unavailable": {"InProgress", func(s *pass) { s.deployment = passtest.Deployed(1) }, nil},
		"Available/External":    {"Current", func(s *pass) { s.refinery.Spec.Placement = v1alpha1.PlacementExternal }, nil},

		"Available/PodsRefused": {"Failed", func(s *pass) { s.deployment = passtest.Refused("exceeded quota") }, nil},

		"CertificateInSync/InSync":              {"Current", presenting(true), nil},
		"CertificateInSync/OutdatedCertificate": {"Current", presenting(false), nil},
		"CertificateExpiring/Expiring": {"Current", func(s *pass) {
			s.certificate.Leaf, s.certificate.Secret = passtest.Lasting(90*passtest.Day, passtest.Day), "provided"
		}, nil},
	}
	for _, reason := range []string{v1alpha1.ReasonImageNotPulled, v1alpha1.ReasonContainerNotCreated, v1alpha1.ReasonCrashLoop, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonContainersNotReady} {
		rows["Available/"+reason] = row{"InProgress", failing(reason, passtest.Deployed(1)), nil}
	}
	return rows
}

// rowsOfReasons are those of conditions Authenticated and CertificateReady.
func rowsOfReasons() map[string]row {
	rows := map[string]row{}
	for reason, want := range map[string]string{
		v1alpha1.ReasonAuthenticated: "Current", v1alpha1.ReasonPartiallyAuthenticated: "InProgress", v1alpha1.ReasonConnecting: "InProgress",
		v1alpha1.ReasonVersionMismatch: "InProgress", v1alpha1.ReasonDenied: "InProgress", v1alpha1.ReasonLost: "InProgress",
		v1alpha1.ReasonMasterUnavailable: "InProgress", v1alpha1.ReasonDuplicateID: "InProgress",
	} {
		status := metav1.ConditionFalse
		if want == "Current" {
			status = metav1.ConditionTrue
		}
		rows["Authenticated/"+reason] = row{want, authenticated(status, reason), nil}
	}
	rows["Authenticated/"+v1alpha1.ReasonSuspended] = row{"Failed", func(s *pass) {
		s.refinery.Spec.Access = v1alpha1.AccessSuspended
		authenticated(metav1.ConditionFalse, v1alpha1.ReasonSuspended)(s)
	}, nil}
	for want, reasons := range map[string]string{
		"Current":    "Issued Provided NotRequired",
		"InProgress": "NotIssued SecretNotFound NotYetValid AuthorityNotReady IssuerNotInstalled IssuerNotReady",
		"Failed": "SecretKeyMissing TooLarge TooShort NotPEM KeyMismatch WrongAuthority WrongIdentity WrongUsage UnsupportedKey Expired Revoked " +
			"AuthorityWithoutKey AuthorityConstrained IssuerNotAllowed",
	} {
		status := metav1.ConditionFalse
		if want == "Current" {
			status = metav1.ConditionTrue
		}
		for reason := range strings.FieldsSeq(reasons) {
			rows["CertificateReady/"+reason] = row{want, certificate(status, reason), nil}
		}
	}
	return rows
}
