package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// issuedSuffix ends the names of the Secrets that certificates are issued into.
const issuedSuffix = "-tls"

// keptBy tells what a Secret is for that a ClusterMaster keeps to itself. It is empty for all others.
func keptBy(m *v1alpha1.ClusterMaster, secret string) string {
	authority, named := m.NamedAuthority()
	switch {
	case secret == m.AuthoritySecretName(), named && secret == authority:
		return fmt.Sprintf("it is for the certificate authority of ClusterMaster %s", m.Name)
	case secret == m.CertificateSecretName():
		return fmt.Sprintf("it is for the certificate that ClusterMaster %s serves, and its key", m.Name)
	}
	return ""
}

// refusedShared tells why the Secret that certificates.shared names may not be mounted by every node, or nothing.
func refusedShared(m *v1alpha1.ClusterMaster) string {
	why := keptBy(m, m.SharedSecretName())
	if why == "" {
		return ""
	}
	return fmt.Sprintf("spec.certificates.shared.secretRef names Secret %s: %s; name one that holds key %s and nothing else",
		m.SharedSecretName(), why, v1alpha1.SharedCertificateKey)
}

// checkSharedReference refuses a shared certificate that is not for nodes to read.
func (r *RefineryReconciler) checkSharedReference(s *refineryScope) error {
	if why := refusedShared(s.master); why != "" {
		return &reconcile.WaitError{Reason: v1alpha1.ReasonInvalidReference, Message: fmt.Sprintf("ClusterMaster %s: %s", s.master.Name, why)}
	}
	return nil
}

// checkCertificateReference refuses a certificate that is not for the nodes of this Refinery to read.
func (r *RefineryReconciler) checkCertificateReference(ctx context.Context, s *refineryScope) error {
	ref := s.refinery.Spec.CertificateSecretRef
	if ref == nil {
		return nil
	}
	why, err := r.othersSecret(ctx, s, ref.Name)
	if err != nil || why == "" {
		return err
	}
	return r.refuse(s, v1alpha1.ReasonInvalidReference, fmt.Sprintf(
		"spec.certificateSecretRef names Secret %s: %s; name one that holds a certificate for this Refinery", ref.Name, why))
}

// checkTemplate refuses a template that brings into the pods what belongs to a ClusterMaster or to another
// Refinery.
func (r *RefineryReconciler) checkTemplate(ctx context.Context, s *refineryScope, d *appsv1ac.DeploymentApplyConfiguration) error {
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
			return r.refuse(s, v1alpha1.ReasonInvalidTemplate, fmt.Sprintf("spec.template brings Secret %s into its pods: %s", name, why))
		}
	}
	return nil
}

// refuse ends the pass where the spec refers to someone else's object, says what that means for the pods, and has it looked
// at again, since the object may go.
func (r *RefineryReconciler) refuse(s *refineryScope, reason, why string) error {
	if s.deployment == nil {
		why += "; no pods run until this is put right"
	}
	return &reconcile.StalledError{Reason: reason, Message: why, Recheck: r.env.Recheck}
}

// removeForbiddenPods removes the Deployment where its pods read, as they were made, what belongs to a ClusterMaster or
// to another Refinery: it was not theirs yet when the pods were made. Pods with a key of someone else do more harm than
// none. The Deployment stays until its pods are gone, so that nobody takes them for gone before, and is made again when
// the spec is put right. It returns the Deployment that is to stay, or nil.
func (r *RefineryReconciler) removeForbiddenPods(ctx context.Context, s *refineryScope) (*appsv1.Deployment, error) {
	if s.deployment == nil || s.deployment.Generation < r.apply.Written(s.refinery, "Deployment", s.refinery.Name) {
		return s.deployment, nil // what was read is not what there is
	}
	pods := &s.deployment.Spec.Template.Spec
	why, err := r.othersAccount(ctx, s, pods.ServiceAccountName)
	for _, name := range resource.PodSecrets(pods) {
		if err != nil || why != "" {
			break
		}
		why, err = r.othersSecret(ctx, s, name)
	}
	if err != nil || why == "" {
		return s.deployment, err
	}
	log.FromContext(ctx).Info("The pods read what is not theirs: removing them", "why", why)
	return nil, r.apply.Delete(ctx, s.refinery, s.deployment, client.PropagationPolicy(metav1.DeletePropagationForeground))
}

// othersAccount tells whose a ServiceAccount is that the pods of a Refinery may not run as, or nothing.
func (r *RefineryReconciler) othersAccount(ctx context.Context, s *refineryScope, name string) (string, error) {
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
			return r.unlessUsersOwn(ctx, s, &corev1.ServiceAccount{}, name, fmt.Sprintf("it is for the pods of ClusterMaster %s", masters[i].Name))
		}
	}
	return "", nil
}

// othersSecret tells whose a Secret is that the pods of a Refinery may not read, or nothing. Names count as well as
// objects: what is not there yet would come into pods that run already.
func (r *RefineryReconciler) othersSecret(ctx context.Context, s *refineryScope, name string) (string, error) {
	own := name == s.refinery.IssuedSecretName()
	if s.master != nil && !own {
		if why := keptBy(s.master, name); why != "" {
			return why, nil
		}
	}
	secret, err := s.secrets.Cached(ctx, s.refinery.Namespace, name)
	if err != nil {
		return "", err
	}
	why := ""
	if secret != nil {
		why = belongsTo(s.refinery, secret)
	}
	if why != "" || own {
		return why, nil
	}
	if why, err := r.mastersSecret(ctx, s, name); err != nil || why != "" {
		return why, err
	}
	other := &v1alpha1.Refinery{}
	refinery, ok := strings.CutSuffix(name, issuedSuffix)
	if !ok {
		return "", nil
	}
	if err := r.reader(s).Get(ctx, client.ObjectKey{Namespace: s.refinery.Namespace, Name: refinery}, other); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	why = fmt.Sprintf("it is for the certificate of Refinery %s", other.Name)
	if other.CertificateSecretName() == name && other.Spec.CertificateSecretRef != nil {
		return why, nil
	}
	return r.unlessUsersOwn(ctx, s, &corev1.Secret{}, name, why)
}

// mastersSecret tells for which other ClusterMaster a Secret is, or nothing.
func (r *RefineryReconciler) mastersSecret(ctx context.Context, s *refineryScope, name string) (string, error) {
	masters, err := r.mastersBeside(ctx, s)
	if err != nil {
		return "", err
	}
	for i := range masters {
		m := &masters[i]
		authority, provided := m.NamedAuthority()
		why := keptBy(m, name)
		switch shared := s.master == nil || s.master.SharedSecretName() != name; {
		case why != "" && provided && (name == authority || name == m.CertificateSecretName()): // its user brings it
			return why, nil
		case why != "":
		case shared && name == m.SharedSecretName() && name != m.OwnSharedSecretName():
			return sharedBy(m), nil
		case shared && name == m.OwnSharedSecretName():
			why = sharedBy(m)
		default:
			continue
		}
		if why, err = r.unlessUsersOwn(ctx, s, &corev1.Secret{}, name, why); err != nil || why != "" {
			return why, err
		}
	}
	return "", nil
}

func sharedBy(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("it is for the shared certificate of ClusterMaster %s", m.Name)
}

// mastersBeside are the ClusterMasters of the Refinery's namespace but its own.
func (r *RefineryReconciler) mastersBeside(ctx context.Context, s *refineryScope) ([]v1alpha1.ClusterMaster, error) {
	list := &v1alpha1.ClusterMasterList{}
	if err := r.reader(s).List(ctx, list, client.InNamespace(s.refinery.Namespace)); err != nil {
		return nil, fmt.Errorf("list ClusterMasters: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(m v1alpha1.ClusterMaster) bool { return s.master != nil && m.UID == s.master.UID }), nil
}

// reader is the API server for a spec whose pods are still to be made: the cache may not have yet whom a name is for.
func (r *RefineryReconciler) reader(s *refineryScope) client.Reader {
	if s.deployment == nil || s.refinery.Status.ObservedGeneration != s.refinery.Generation {
		return r.env.Live
	}
	return r.env.Client
}

// unlessUsersOwn is why, or nothing for an object that a user made before the ClusterMaster or Refinery came that would
// have its name: that one has to do without.
func (r *RefineryReconciler) unlessUsersOwn(ctx context.Context, s *refineryScope, object client.Object, name, why string) (string, error) {
	err := r.env.Live.Get(ctx, client.ObjectKey{Namespace: s.refinery.Namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return why, nil
	}
	if err != nil {
		return "", fmt.Errorf("read %T %s: %w", object, name, err)
	}
	if certificates.FilledByCertManager(object) || object.GetLabels()[resource.LabelManagedBy] == resource.ManagedBy {
		return why, nil
	}
	return "", nil
}

// belongsTo says which other ClusterMaster or Refinery an object of the operator's was made for, or nothing.
func belongsTo(r *v1alpha1.Refinery, object metav1.Object) string {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.UID == r.UID {
		return ""
	}
	if group, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || group.Group != v1alpha1.GroupVersion.Group {
		return "" // an owner of another group, however it spells it
	}
	return fmt.Sprintf("it belongs to %s %s", owner.Kind, owner.Name)
}
