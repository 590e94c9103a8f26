package clustermaster

import (
	"context"

	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// adoptPodSet adopts the Deployment if it has lost its owner, or deletes it if its pods are not as they have to be.
func (r *Reconciler) adoptPodSet(ctx context.Context, s *scope) error {
	orphaned, err := r.env.HasOrphanedPodSet(ctx, s.master, podset.Deployment)
	if err == nil && orphaned {
		_, err = r.reconcileDeployment(ctx, s)
	}
	return err
}

// adoptSecrets adopts the Secrets that have lost their owner. An authority that nothing proves is for a person to decide on.
func (r *Reconciler) adoptSecrets(ctx context.Context, s *scope) error {
	names := []string{s.master.CertificateSecretName(), s.master.PeerName()}
	if s.master.UsesShared() {
		names = append(names, s.master.SharedSecretName())
	}
	if _, provided := s.master.NamedAuthority(); !provided && s.master.Issuer() == nil {
		names = append([]string{s.master.AuthoritySecretName()}, names...)
	}
	err := s.secrets.Adopt(ctx, s.master, names...)
	if p := pki.AsProblem(err); p != nil {
		return &reconcile.StalledError{Reason: p.Reason, Message: p.Message, Recheck: r.env.Recheck}
	}
	return err
}
