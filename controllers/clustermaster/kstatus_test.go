package clustermaster

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// The certificate of a master is judged by the same function as that of a node, whose test has each of its reasons.
func TestToolsSeeEveryRowOfTheConditionsPage(t *testing.T) {
	type row struct {
		want   string
		change func(*pass)
		err    error
	}
	secured := func(transport v1alpha1.Transport, authentication v1alpha1.Authentication) func(*pass) {
		return func(s *pass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: transport, Authentication: authentication}
		}
	}
	// has is a condition that stays while nobody looks again at what it is about.
	has := func(kind, reason string) func(*pass) {
		return func(s *pass) {
			s.master.Status.Conditions = []metav1.Condition{reconcile.NewCondition(kind, metav1.ConditionTrue, reason, "")}
		}
	}
	moving := func(s *pass) {
		mode := s.master.Spec.Security.Mode()
		s.security = &security{all: 1, status: v1alpha1.SecurityStatus{SecurityMode: mode, Former: []v1alpha1.FormerSecurity{{
			SecurityMode: v1alpha1.SecurityMode{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate},
			Until:        metav1.NewTime(passtest.Now.Add(passtest.Day))}}}}
	}
	stalled := func(reason string) error { return &reconcile.StalledError{Reason: reason} }
	rows := map[string]row{
		"Ready/Ready":                    {"Current", nil, nil},
		"Ready/Progressing":              {"InProgress", func(s *pass) { s.deployment = passtest.Deployed(0) }, nil},
		"Ready/Paused":                   {"Failed", func(s *pass) { s.master.Spec.Paused = true }, nil},
		"Ready/NoActiveMaster":           {"InProgress", func(s *pass) { s.master.Status.Active = nil }, nil},
		"Ready/CertificateNotReady":      {"Failed", func(s *pass) { s.foundWrong(v1alpha1.ReasonExpired, "") }, nil},
		"Ready/NameConflict":             {"Failed", nil, &apply.ConflictError{}},
		"Ready/AuthorityUnproven":        {"Failed", nil, stalled(v1alpha1.ReasonAuthorityUnproven)},
		"Ready/Contested":                {"Failed", nil, &apply.ContestedError{}},
		"Ready/InvalidVersions":          {"Failed", nil, stalled(v1alpha1.ReasonInvalidVersions)},
		"Ready/InvalidReference":         {"Failed", nil, stalled(v1alpha1.ReasonInvalidReference)},
		"Ready/Rejected":                 {"Failed", nil, apierrors.NewForbidden(schema.GroupResource{}, "alpha", errors.New("a policy"))},
		"Ready/ProgressDeadlineExceeded": {"Failed", func(s *pass) { s.deployment = passtest.Late(0) }, nil},
		"Ready/Error":                    {"InProgress", nil, errors.New("failed")},

		"CertificateAuthorityRotating/Preparing":  {"Current", has(v1alpha1.ConditionCertificateAuthorityRotating, v1alpha1.ReasonPreparing), nil},
		"CertificateAuthorityRotating/Activating": {"Current", has(v1alpha1.ConditionCertificateAuthorityRotating, v1alpha1.ReasonActivating), nil},
		"SecurityChanging/Moving":                 {"Current", moving, nil},

		"TransportSecure/MutualTLS":         {"Current", nil, nil},
		"TransportSecure/ServerTLS":         {"Current", secured(v1alpha1.TransportServerTLS, v1alpha1.AuthenticationSharedCertificate), nil},
		"TransportSecure/SharedCertificate": {"Current", secured(v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationSharedCertificate), nil},
		"TransportSecure/Plaintext":         {"Current", secured(v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate), nil},
	}
	passtest.Covers(t, []string{"Ready", "CertificateAuthorityRotating", "SecurityChanging", "TransportSecure"}, rows,
		"Ready/MasterNotFound", "Ready/NotAuthenticated", "Ready/InvalidTemplate", "Ready/TooManyRevoked") // a Refinery's
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := passOf(row.change)
			s.master.Status = s.status(reconcile.OutcomeOf(row.err, 0))
			kind, reason, _ := strings.Cut(name, "/")
			if c := passtest.Shown(s.master.Status.Conditions)[kind]; !strings.HasSuffix(c, "/"+reason) {
				t.Fatalf("%s is %q", kind, c)
			}
			passtest.Tools(t, controllers.KindMaster, s.master, row.want)
		})
	}
}

// No tool should wait for a master that is not wanted.
func TestNoReplicasAreFailed(t *testing.T) {
	s := passOf(func(s *pass) { s.master.Spec.Replicas, s.deployment = ptr.To[int32](0), passtest.Deployed(0) })
	s.master.Status = s.status(reconcile.Outcome{})
	passtest.Tools(t, controllers.KindMaster, s.master, "Failed")
}
