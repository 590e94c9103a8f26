package refinery

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// checkSharedReference refuses a shared certificate in a Secret that nodes must not read.
func (r *Reconciler) checkSharedReference(ctx context.Context, s *scope) error {
	why, err := r.env.RefusedShared(ctx, s.master)
	if err != nil || why == "" {
		return err
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonInvalidReference, Message: fmt.Sprintf("ClusterMaster %s: %s", s.master.Name, why), Recheck: r.env.Recheck}
}

// requireSecretName refuses a Refinery whose certificate would be in a Secret that another Refinery brought into its pods before.
func (r *Reconciler) requireSecretName(ctx context.Context, s *scope) error {
	if s.refinery.Spec.CertificateSecretRef != nil {
		return nil
	}
	return r.env.RequireSecretNames(ctx, s.refinery, s.refinery.IssuedSecretName())
}

// requireAuthority has nothing issued by an authority that the ClusterMaster must not use.
func (r *Reconciler) requireAuthority(ctx context.Context, s *scope) error {
	why, err := r.env.RefusedAuthority(ctx, s.master)
	if err != nil || why == "" {
		return err
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonInvalidReference, Message: fmt.Sprintf("ClusterMaster %s: %s", s.master.Name, why), Recheck: r.env.Recheck}
}

// checkCertificateReference refuses a certificate in a Secret that the nodes of this Refinery must not read.
func (r *Reconciler) checkCertificateReference(ctx context.Context, s *scope) error {
	ref := s.refinery.Spec.CertificateSecretRef
	if ref == nil {
		return nil
	}
	why, err := r.othersSecret(ctx, s, ref.Name)
	if err == nil && why == "" && !controllers.UsesCertificate(s.refinery, ref.Name) {
		why, err = r.readByOthers(ctx, s, ref.Name)
	}
	if err != nil || why == "" {
		return err
	}
	return r.refuse(s, v1alpha1.ReasonInvalidReference, fmt.Sprintf(
		"spec.certificateSecretRef names Secret %s: %s; name one that holds a certificate for this Refinery", ref.Name, why))
}

// readByOthers says which Refinery brought a Secret into its pods before, or "".
func (r *Reconciler) readByOthers(ctx context.Context, s *scope, name string) (string, error) {
	other, err := r.env.BroughtBy(ctx, s.refinery, name)
	if err != nil || other == "" {
		return "", err
	}
	return fmt.Sprintf("the spec of Refinery %s brought it into pods before, which could have its key", other), nil
}

// checkTemplate refuses a template whose pods would read a Secret or use a ServiceAccount that belongs to a
// ClusterMaster or to another Refinery.
func (r *Reconciler) checkTemplate(ctx context.Context, s *scope, d *appsv1ac.DeploymentApplyConfiguration) error {
	for _, name := range resource.WorkloadServiceAccounts(d) {
		why, err := r.othersAccount(ctx, s, name)
		if err != nil {
			return err
		}
		if why != "" {
			return r.refuse(s, v1alpha1.ReasonInvalidTemplate, fmt.Sprintf("spec.template uses ServiceAccount %s: %s", name, why))
		}
	}
	secrets, err := resource.WorkloadSecrets(d)
	if err != nil {
		return err
	}
	for _, name := range secrets {
		why, err := r.othersSecret(ctx, s, name)
		if err != nil {
			return err
		}
		if why != "" {
			field := "spec.template uses"
			if slices.Contains(s.refinery.Spec.ImagePullSecrets, v1alpha1.LocalReference{Name: name}) {
				field = "spec.imagePullSecrets names"
			}
			return r.refuse(s, v1alpha1.ReasonInvalidTemplate, fmt.Sprintf("%s Secret %s: %s", field, name, why))
		}
	}
	return nil
}

// refuse returns the StalledError for a spec that refers to an object of another owner. Its message adds that no pods
// run, if that follows. The object may be deleted, so the spec is checked again after env.Recheck.
func (r *Reconciler) refuse(s *scope, reason, why string) error {
	if s.deployment == nil {
		why += "; no pods run until this is corrected"
	}
	return &reconcile.StalledError{Reason: reason, Message: why, Recheck: r.env.Recheck}
}

// removeForbiddenPods deletes the Deployment or StatefulSet if its pods mount a Secret or use a ServiceAccount that now belongs to a
// ClusterMaster or another Refinery: no pods are better than pods with someone else's key. It stays until its
// pods are gone, and is created again when the spec is corrected. What remains is returned, or nil.
func (r *Reconciler) removeForbiddenPods(ctx context.Context, s *scope) (*appsv1.Deployment, error) {
	former, err := r.env.OwnPodSetOf(ctx, s.refinery, podset.Other(resource.PodSetKind(s.refinery)))
	if err == nil {
		_, err = r.removeIfForbidden(ctx, s, former)
	}
	if err != nil {
		return s.deployment, err
	}
	removed, err := r.removeIfForbidden(ctx, s, s.deployment)
	if removed {
		return nil, err
	}
	return s.deployment, err
}

func (r *Reconciler) removeIfForbidden(ctx context.Context, s *scope, d *appsv1.Deployment) (removed bool, err error) {
	if d == nil || d.Generation < r.apply.Written(s.refinery, podset.KindOf(d), s.refinery.Name) {
		return false, nil // what was read is not what there is
	}
	spec := &d.Spec.Template.Spec
	why, err := r.othersAccount(ctx, s, spec.ServiceAccountName)
	for _, name := range resource.PodSecrets(spec) {
		if err != nil || why != "" {
			break
		}
		why, err = r.othersSecret(ctx, s, name)
	}
	if err != nil || why == "" {
		return false, err
	}
	log.FromContext(ctx).Info("The pods use a Secret or ServiceAccount of another owner: deleting what runs them", "why", why)
	return true, r.apply.Delete(ctx, s.refinery, podset.New(podset.KindOf(d), d.Namespace, d.Name))
}

// othersAccount says whose ServiceAccount this is if the pods of the Refinery may not use it, or "" if they may.
func (r *Reconciler) othersAccount(ctx context.Context, s *scope, name string) (string, error) {
	if s.master != nil && name == resource.MasterServiceAccountName(s.master) {
		return fmt.Sprintf("it is for the pods of ClusterMaster %s", s.master.Name), nil
	}
	account := &corev1.ServiceAccount{}
	if err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: s.refinery.Namespace, Name: name}, account); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("read ServiceAccount %s: %w", name, err)
	}
	if why := belongsTo(s.refinery, account); why != "" {
		return why, nil
	}
	masters, err := r.mastersBeside(ctx, s)
	if err != nil {
		return "", err
	}
	for i := range masters {
		if name == resource.MasterServiceAccountName(&masters[i]) {
			return r.unlessAccountFirst(ctx, s, &masters[i])
		}
	}
	return "", nil
}

// unlessAccountFirst says that a ServiceAccount is for a ClusterMaster, or "" if a user created it, or if there is none yet and
// this Refinery had its name before the ClusterMaster: then that cannot have it.
func (r *Reconciler) unlessAccountFirst(ctx context.Context, s *scope, m *v1alpha1.ClusterMaster) (string, error) {
	account, name := &corev1.ServiceAccount{}, resource.MasterServiceAccountName(m)
	err := r.env.Live.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: name}, account)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return "", fmt.Errorf("read ServiceAccount %s: %w", name, err)
	case err == nil && account.Labels[resource.LabelManagedBy] != resource.ManagedBy:
		return "", nil
	case err != nil && s.hadFirst(m, func(pods *corev1.PodSpec) bool { return resource.UsesAccount(pods, name) }):
		if held, err := r.env.HoldsNames(ctx, r.reader(s), m); err != nil || !held {
			return "", err
		}
	}
	return fmt.Sprintf("it is for the pods of ClusterMaster %s", m.Name), nil
}

// othersSecret says whose Secret this is if the pods of the Refinery may not read it, or "" if they may. A name that is
// reserved for another owner counts even if the Secret does not exist yet: created later, it would be mounted into pods
// that run already. Of a Secret that a user created, only the content counts, so that nobody can take it from others by
// naming it in a spec.
func (r *Reconciler) othersSecret(ctx context.Context, s *scope, name string) (string, error) {
	secret, err := s.secrets.Cached(ctx, s.refinery.Namespace, name)
	if err != nil {
		return "", err
	}
	if secret != nil && metav1.IsControlledBy(secret, s.refinery) {
		return "", nil
	}
	if s.master != nil {
		if authority, provided := s.master.NamedAuthority(); !provided || name != authority {
			own := name == s.refinery.IssuedSecretName() // who has the name is settled elsewhere
			if why := controllers.KeptBy(s.master, name); why != "" && !own {
				return why, nil
			}
			if name == s.master.SharedSecretName() {
				return "", nil // of which its nodes are members
			}
		} else if why, err := r.namedAuthority(ctx, s, s.master); err != nil || why != "" {
			return why, err
		}
	}
	if secret != nil {
		if why := belongsTo(s.refinery, secret); why != "" {
			return why, nil
		}
	}
	if why, err := r.mastersSecret(ctx, s, name); err != nil || why != "" {
		return why, err
	}
	if why, err := r.neighboursSecret(ctx, s, name); err != nil || why != "" {
		return why, err
	}
	if secret != nil && !usersOwn(secret) && metav1.GetControllerOf(secret) == nil && name != s.refinery.IssuedSecretName() {
		return fmt.Sprintf("the operator created it for %s, which does not exist any more", controllers.CreatedFor(secret)), nil
	}
	return "", nil
}

// mastersSecret says which other ClusterMaster a Secret is for, or "".
func (r *Reconciler) mastersSecret(ctx context.Context, s *scope, name string) (string, error) {
	masters, err := r.mastersBeside(ctx, s)
	if err != nil {
		return "", err
	}
	for i := range masters {
		m := &masters[i]
		why := ""
		switch authority, provided := m.NamedAuthority(); {
		case provided && name == authority:
			why, err = r.namedAuthority(ctx, s, m)
		case name == s.refinery.IssuedSecretName(): // who has the name is settled elsewhere
		case name == m.AuthoritySecretName():
			why, err = r.unlessFirst(ctx, s, m, name, controllers.ForAuthority(m), usersOwn)
		case name == m.CertificateSecretName():
			why, err = r.unlessFirst(ctx, s, m, name, controllers.ForServing(m), func(secret *corev1.Secret) bool { return usersOwn(secret) && !r.isServed(ctx, s, m, secret) })
		case name == m.PeerName():
			why, err = r.unlessFirst(ctx, s, m, name, controllers.ForPeers(m), usersOwn)
		case name == m.SharedSecretName():
			why, err = r.unlessFirst(ctx, s, m, name, fmt.Sprintf("it is for the shared certificate of ClusterMaster %s", m.Name), usersOwn)
		}
		if err != nil || why != "" {
			return why, err
		}
	}
	return "", nil
}

// namedAuthority says that a Secret is the authority that a ClusterMaster names, or "" if it does not hold one, or if this Refinery
// had it first and the ClusterMaster does not use it.
func (r *Reconciler) namedAuthority(ctx context.Context, s *scope, m *v1alpha1.ClusterMaster) (string, error) {
	name, _ := m.NamedAuthority()
	if used, err := r.env.UsesAuthority(ctx, r.reader(s), m); err != nil || (!used && s.hadFirst(m, reading(name))) {
		return "", err
	}
	return r.unless(ctx, s, name, controllers.ForAuthority(m), func(secret *corev1.Secret) bool { return !isAuthority(secret) })
}

// hadFirst reports whether the pods of the Refinery use something, or would if the Refinery had its way and was created before the
// other, which is a ClusterMaster or another Refinery.
func (s *scope) hadFirst(other client.Object, use func(*corev1.PodSpec) bool) bool {
	return (s.deployment != nil && use(&s.deployment.Spec.Template.Spec)) || controllers.GoesBefore(s.refinery, other)
}

func reading(secret string) func(*corev1.PodSpec) bool {
	return func(pods *corev1.PodSpec) bool { return slices.Contains(resource.PodSecrets(pods), secret) }
}

// neighboursSecret says which other Refinery a Secret is for, or "".
func (r *Reconciler) neighboursSecret(ctx context.Context, s *scope, name string) (string, error) {
	if refinery, ok := strings.CutSuffix(name, v1alpha1.CertificateSuffix); ok && refinery != s.refinery.Name {
		other := &v1alpha1.Refinery{}
		err := r.reader(s).Get(ctx, client.ObjectKey{Namespace: s.refinery.Namespace, Name: refinery}, other)
		if client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read Refinery %s: %w", refinery, err)
		}
		if err == nil {
			if why, err := r.unlessFirst(ctx, s, other, name, forRefinery(other), usersOwn); err != nil || why != "" {
				return why, err
			}
		}
	}
	named := &v1alpha1.RefineryList{}
	if err := r.env.Client.List(ctx, named, client.InNamespace(s.refinery.Namespace), client.MatchingFields{controllers.SecretIndex: name}); err != nil {
		return "", fmt.Errorf("list Refineries: %w", err)
	}
	for i := range named.Items {
		other := &named.Items[i]
		if other.UID == s.refinery.UID || (other.Spec.CertificateSecretRef == nil && name == other.IssuedSecretName()) {
			continue
		}
		if !controllers.UsesCertificate(other, name) && s.hadFirst(other, reading(name)) {
			continue
		}
		why, err := r.unless(ctx, s, name, forRefinery(other), func(secret *corev1.Secret) bool { return !identifies(secret, other) })
		if err != nil || why != "" {
			return why, err
		}
	}
	return "", nil
}

func forRefinery(r *v1alpha1.Refinery) string {
	return fmt.Sprintf("it is for the certificate of Refinery %s", r.Name)
}

// isAuthority reports whether a Secret may hold a certificate authority.
func isAuthority(secret *corev1.Secret) bool {
	return mayHold(secret, func(leaf *x509.Certificate) bool { return leaf.IsCA })
}

// identifies reports whether the certificate in a Secret may have the identity of a Refinery.
func identifies(secret *corev1.Secret, r *v1alpha1.Refinery) bool {
	return mayHold(secret, func(leaf *x509.Certificate) bool { return slices.Contains(pki.Names(leaf), r.Identity().String()) })
}

// isServed reports whether the provided authority of a ClusterMaster may have signed the certificate in a Secret that a user
// created: then the user provides the certificate that the master serves.
func (r *Reconciler) isServed(ctx context.Context, s *scope, m *v1alpha1.ClusterMaster, secret *corev1.Secret) bool {
	name, provided := m.NamedAuthority()
	if !provided {
		return false
	}
	authority, err := s.secrets.Provided(ctx, m.Namespace, name)
	if err != nil {
		return false
	}
	signers, err := pki.ParseCertificates(corev1.TLSCertKey, authority.Data[corev1.TLSCertKey])
	return mayHold(secret, func(leaf *x509.Certificate) bool {
		return err != nil || slices.ContainsFunc(signers, func(c *x509.Certificate) bool { return leaf.CheckSignatureFrom(c) == nil })
	})
}

// mayHold reports whether the certificate in a Secret is what is asked for, or cannot be read: its key is then kept from others
// too. A Secret without a certificate holds nothing of the kind.
func mayHold(secret *corev1.Secret, is func(leaf *x509.Certificate) bool) bool {
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, secret.Data[corev1.TLSCertKey])
	if err != nil {
		return len(bytes.TrimSpace(secret.Data[corev1.TLSCertKey])) > 0
	}
	return is(chain[0])
}

// mastersBeside returns the other ClusterMasters of the Refinery's namespace. A pass lists them once.
func (r *Reconciler) mastersBeside(ctx context.Context, s *scope) ([]v1alpha1.ClusterMaster, error) {
	if s.beside == nil {
		list := &v1alpha1.ClusterMasterList{}
		if err := r.reader(s).List(ctx, list, client.InNamespace(s.refinery.Namespace)); err != nil {
			return nil, fmt.Errorf("list ClusterMasters: %w", err)
		}
		others := slices.DeleteFunc(list.Items, func(m v1alpha1.ClusterMaster) bool { return s.master != nil && m.UID == s.master.UID })
		s.beside = append([]v1alpha1.ClusterMaster{}, others...) // not nil, even of none: it was read
	}
	return s.beside, nil
}

// reader returns the API server while the current spec is not reconciled yet: the cache may not have the object yet
// that a name is reserved for. Afterwards it returns the cache.
func (r *Reconciler) reader(s *scope) client.Reader {
	if s.refinery.Status.ReconciledGeneration != s.refinery.Generation {
		return r.env.Live
	}
	return r.env.Client
}

// unless returns why, or "" if the API server has the Secret and free says that others may use it.
func (r *Reconciler) unless(ctx context.Context, s *scope, name, why string, free func(*corev1.Secret) bool) (string, error) {
	secret, err := s.secrets.Provided(ctx, s.refinery.Namespace, name)
	if pki.AsProblem(err) != nil {
		return why, nil // it does not exist
	}
	if err != nil {
		return "", err
	}
	if free(secret) {
		return "", nil
	}
	return why, nil
}

// unlessFirst is unless, and "" too while the Secret does not exist, if this Refinery had its name before owner, which is to have it.
func (r *Reconciler) unlessFirst(ctx context.Context, s *scope, owner client.Object, name, why string, free func(*corev1.Secret) bool) (string, error) {
	_, err := s.secrets.Provided(ctx, s.refinery.Namespace, name)
	if pki.AsProblem(err) == nil || !s.hadFirst(owner, reading(name)) {
		return r.unless(ctx, s, name, why, free)
	}
	if held, err := r.env.HoldsNames(ctx, r.reader(s), owner); err != nil || !held {
		return "", err
	}
	return why, nil
}

// usersOwn reports whether a user created a Secret, not the operator or cert-manager. A ClusterMaster or Refinery that
// is created later and would need its name cannot have it.
func usersOwn(secret *corev1.Secret) bool {
	return !certificates.FilledByCertManager(secret) && secret.Labels[resource.LabelManagedBy] != resource.ManagedBy
}

// belongsTo says which other ClusterMaster or Refinery controls an object, or "".
func belongsTo(r *v1alpha1.Refinery, object metav1.Object) string {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.UID == r.UID || (owner.Kind == controllers.KindRefinery && owner.Name == r.Name) { // a former one of its name is gone
		return ""
	}
	if group, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || group.Group != v1alpha1.GroupVersion.Group {
		return "" // an owner of another group, however it spells it
	}
	return fmt.Sprintf("it belongs to %s %s", owner.Kind, owner.Name)
}
