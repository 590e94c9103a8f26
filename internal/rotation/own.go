package rotation

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation/plan"
)

// OwnStore keeps the state of a rotation between two authorities of the operator's making in the Secret that holds both.
// Each step is a write of that Secret alone, days apart or more if need be.
type OwnStore struct {
	// Secret is the authority's, as the cache has it.
	Secret *corev1.Secret
	// Apply writes it, over the version that the configuration names.
	Apply func(ctx context.Context, m *v1alpha1.ClusterMaster, secret *corev1ac.SecretApplyConfiguration) error

	master *v1alpha1.ClusterMaster // as it was when the state was loaded
	live   bool                    // Secret was read from the API server
}

func (s *OwnStore) load(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, now time.Time) (*State, *pki.Authority, error) {
	if s.master != nil && !s.live { // the first time was from the cache
		secret := &corev1.Secret{}
		err := reader.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.AuthoritySecretName()}, secret)
		if apierrors.IsNotFound(err) || (err == nil && !apply.Owns(m, secret)) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read Secret %s: %w", m.AuthoritySecretName(), err)
		}
		s.Secret, s.live = secret, true
	}
	s.master = m
	state, authority := ownState(m, s.Secret, now)
	return &state, authority, nil
}

// ownState is the state that the Secret of an authority tells, and the authority with all that is trusted.
func ownState(m *v1alpha1.ClusterMaster, secret *corev1.Secret, now time.Time) (State, *pki.Authority) {
	files, record := resource.ReadMasterAuthority(secret)
	request := m.Annotations[v1alpha1.RotateCAAnnotation]
	state := State{Phase: files.Phase(), Requested: request != "" && request != record.Asked}
	authority, err := files.Parse(now)
	switch p := pki.AsProblem(err); {
	case p != nil && p.Reason == v1alpha1.ReasonExpired && state.Phase == pki.RotationPreparing:
		state.Expired = true
		return state, nil
	case err != nil: // what is wrong is shown with the authority, which is left as it is
		return State{}, nil
	case state.Phase == pki.RotationIdle:
		state.Due = authority.RotateAt(m.CertificatePeriods().CADuration)
		return state, authority
	}
	outgoing, incoming := authority.Certificates[0], authority.Certificates[1] // next.crt, or previous.crt, follows what signs
	if state.Phase == pki.RotationActivating {
		outgoing, incoming = incoming, outgoing
	}
	if !record.Requested {
		record.Asked = ""
	}
	state.Expired, state.Incoming = !now.Before(outgoing.NotAfter), v1alpha1.Fingerprint(incoming)
	state.Forced = plan.Forces(m, state.Phase, record.Asked)
	state.Began, state.LeafDuration = record.Began, m.CertificatePeriods().Duration
	return state, authority
}

func (s *OwnStore) take(ctx context.Context, step Step, now time.Time) error {
	files, record := resource.ReadMasterAuthority(s.Secret)
	switch step {
	case Prepare:
		pair, err := pki.NewAuthorityWithKey(s.master.Namespace+"/"+s.master.Name, s.master.PrivateKey(), s.master.CertificatePeriods().CADuration, now)
		if err != nil {
			return err
		}
		files = files.Prepare(pair)
		request := s.master.Annotations[v1alpha1.RotateCAAnnotation]
		if record.Requested = request != "" && request != record.Asked; record.Requested {
			record.Asked = request
		}
	case Activate:
		files = files.Activate()
	case Retire:
		files = files.Retire()
	}
	record.Began = now
	desired := resource.MasterAuthoritySecret(s.master, files, record).WithUID(s.Secret.UID).WithResourceVersion(s.Secret.ResourceVersion)
	if err := s.Apply(ctx, s.master, desired); err != nil {
		return err
	}
	s.Secret.Data, s.Secret.Annotations = desired.Data, desired.Annotations
	return nil
}

// IgnoredRequest says why annotation rotate-ca has no effect and what to do instead, or "" if it has an effect or is
// not set.
func IgnoredRequest(m *v1alpha1.ClusterMaster) string {
	if m.Annotations[v1alpha1.RotateCAAnnotation] == "" {
		return ""
	}
	if issuer := m.Issuer(); issuer != nil {
		return fmt.Sprintf("annotation %s has no effect with certificates.issuerRef: have %s %s sign with another authority, and then Certificate %s reissued; remove the annotation",
			v1alpha1.RotateCAAnnotation, issuer.Kind, issuer.Name, m.CertificateSecretName())
	}
	if name, provided := m.NamedAuthority(); provided {
		return fmt.Sprintf("annotation %s has no effect with certificates.authority: put another authority into Secret %s, or name another Secret; remove the annotation",
			v1alpha1.RotateCAAnnotation, name)
	}
	return ""
}
