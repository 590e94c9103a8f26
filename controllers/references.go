package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

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
func (r *RefineryReconciler) checkSharedReference(_ context.Context, s *refineryScope) error {
	if why := refusedShared(s.master); why != "" {
		return &waitError{reason: v1alpha1.ReasonInvalidReference, message: fmt.Sprintf("ClusterMaster %s: %s", s.master.Name, why)}
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
	return &stalledError{v1alpha1.ReasonInvalidReference, fmt.Sprintf(
		"spec.certificateSecretRef names Secret %s: %s; name one that holds a certificate for this Refinery", ref.Name, why)}
}

// checkTemplate refuses a template that brings into the pods what belongs to a ClusterMaster or to another
// Refinery. An error about the template is a *resource.TemplateError.
func (r *RefineryReconciler) checkTemplate(ctx context.Context, s *refineryScope, d *appsv1ac.DeploymentApplyConfiguration) error {
	for _, name := range resource.WorkloadServiceAccounts(d) {
		why := fmt.Sprintf("it is for the pods of ClusterMaster %s", s.master.Name)
		if name != resource.MasterServiceAccountName(s.master) {
			var err error
			if why, err = r.othersObject(ctx, s, &corev1.ServiceAccount{}, name); err != nil {
				return err
			}
		}
		if why != "" {
			return &resource.TemplateError{Message: fmt.Sprintf("spec.template uses ServiceAccount %s: %s", name, why)}
		}
	}
	for _, name := range resource.WorkloadSecrets(d) {
		why, err := r.othersSecret(ctx, s, name)
		if err != nil {
			return err
		}
		if why != "" {
			return &resource.TemplateError{Message: fmt.Sprintf("spec.template brings Secret %s into its pods: %s", name, why)}
		}
	}
	return nil
}

// othersSecret tells whose a Secret is that the pods of a Refinery may not read, or nothing.
func (r *RefineryReconciler) othersSecret(ctx context.Context, s *refineryScope, name string) (string, error) {
	if why := keptBy(s.master, name); why != "" {
		return why, nil
	}
	return r.othersObject(ctx, s, &corev1.Secret{}, name)
}

// othersObject tells which other ClusterMaster or Refinery an object of the operator's was made for, or nothing.
func (r *RefineryReconciler) othersObject(ctx context.Context, s *refineryScope, object client.Object, name string) (string, error) {
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.refinery.Namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("read %T %s: %w", object, name, err)
	}
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.UID == s.refinery.UID {
		return "", nil
	}
	if group, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || group.Group != v1alpha1.GroupVersion.Group {
		return "", nil //nolint:nilerr // an owner of another group, however it spells it
	}
	return fmt.Sprintf("it belongs to %s %s", owner.Kind, owner.Name), nil
}
