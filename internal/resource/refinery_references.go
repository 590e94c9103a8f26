package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// WorkloadSecrets are the names of the Secrets, sorted and each once, that the pods of a Refinery use beside the
// operator's volumes: in volumes of any kind, as variables, to pull images.
func WorkloadSecrets(d *appsv1ac.DeploymentApplyConfiguration) ([]string, error) {
	raw, err := json.Marshal(d.Spec.Template.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode the pods of Deployment %s: %w", *d.Name, err)
	}
	spec := &corev1.PodSpec{}
	if err := json.Unmarshal(raw, spec); err != nil {
		return nil, fmt.Errorf("decode the pods of Deployment %s: %w", *d.Name, err)
	}
	return podSecrets(spec, false), nil
}

// certificateIn is a volume of the operator that mounts the certificate in a Secret.
func certificateIn(secret string) corev1.Volume {
	return corev1.Volume{Name: certificateVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}
}

// SpecifiedPods are the pods of a Refinery as far as its own words say what they use: spec.template, spec.imagePullSecrets, and the
// certificate that is provided. There need not be any yet.
func SpecifiedPods(r *v1alpha1.Refinery) *corev1.PodSpec {
	template := corev1.PodTemplateSpec{}
	if r.Spec.Template != nil && json.Unmarshal(r.Spec.Template.Raw, &template) != nil {
		template = corev1.PodTemplateSpec{} // one that does not parse makes no pods
	}
	for _, secret := range r.Spec.ImagePullSecrets {
		template.Spec.ImagePullSecrets = append(template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.Name})
	}
	if ref := r.Spec.CertificateSecretRef; ref != nil {
		template.Spec.Volumes = append(template.Spec.Volumes, certificateIn(ref.Name))
	}
	return &template.Spec
}

// PodSecrets returns the names, sorted and without duplicates, of the Secrets whose content pods can read: all that the
// user's template names, and, of the operator's volumes, those that mount a key or the shared certificate.
func PodSecrets(spec *corev1.PodSpec) []string { return podSecrets(spec, true) }

func podSecrets(spec *corev1.PodSpec, own bool) []string {
	var names []string
	for i := range spec.Volumes {
		if volume := &spec.Volumes[i]; !strings.HasPrefix(volume.Name, ownVolumes) {
			names = append(names, volumeSecrets(volume, nil)...)
		} else if own {
			names = append(names, volumeSecrets(volume, bringsKey)...)
		}
	}
	for _, ref := range spec.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		names = append(names, variableSecrets(container.EnvFrom, container.Env)...)
	}
	for _, container := range spec.EphemeralContainers {
		names = append(names, variableSecrets(container.EnvFrom, container.Env)...)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// bringsKey reports whether a volume with these items mounts tls.key or the shared certificate. No items means every key of the Secret.
func bringsKey(items []corev1.KeyToPath) bool {
	return len(items) == 0 || slices.ContainsFunc(items, func(item corev1.KeyToPath) bool {
		return item.Key == corev1.TLSPrivateKeyKey || item.Key == v1alpha1.SharedCertificateKey
	})
}

// volumeSecrets returns the Secrets that a volume mounts, and those by which its driver mounts something else. only, if
// not nil, selects by the keys that are mounted.
func volumeSecrets(volume *corev1.Volume, only func([]corev1.KeyToPath) bool) []string {
	var names []string
	if source := volume.Secret; source != nil && (only == nil || only(source.Items)) {
		names = append(names, source.SecretName)
	}
	if volume.Projected != nil {
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && (only == nil || only(source.Secret.Items)) {
				names = append(names, source.Secret.Name)
			}
		}
	}
	if volume.AzureFile != nil {
		names = append(names, volume.AzureFile.SecretName)
	}
	for _, ref := range driverSecrets(volume) {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	return names
}

func driverSecrets(volume *corev1.Volume) []*corev1.LocalObjectReference {
	var refs []*corev1.LocalObjectReference
	if volume.CSI != nil {
		refs = append(refs, volume.CSI.NodePublishSecretRef)
	}
	if volume.FlexVolume != nil {
		refs = append(refs, volume.FlexVolume.SecretRef)
	}
	if volume.ISCSI != nil {
		refs = append(refs, volume.ISCSI.SecretRef)
	}
	if volume.RBD != nil {
		refs = append(refs, volume.RBD.SecretRef)
	}
	if volume.CephFS != nil {
		refs = append(refs, volume.CephFS.SecretRef)
	}
	if volume.Cinder != nil {
		refs = append(refs, volume.Cinder.SecretRef)
	}
	if volume.ScaleIO != nil {
		refs = append(refs, volume.ScaleIO.SecretRef)
	}
	if volume.StorageOS != nil {
		refs = append(refs, volume.StorageOS.SecretRef)
	}
	return refs
}

func variableSecrets(all []corev1.EnvFromSource, each []corev1.EnvVar) []string {
	var names []string
	for _, source := range all {
		if source.SecretRef != nil {
			names = append(names, source.SecretRef.Name)
		}
	}
	for _, variable := range each {
		if source := variable.ValueFrom; source != nil && source.SecretKeyRef != nil {
			names = append(names, source.SecretKeyRef.Name)
		}
	}
	return names
}

// UsesAccount reports whether pods run as a ServiceAccount.
func UsesAccount(pods *corev1.PodSpec, name string) bool {
	return pods.ServiceAccountName == name || pods.DeprecatedServiceAccount == name
}

// WorkloadServiceAccounts returns the names of the ServiceAccounts that a pod may run as: that of serviceAccountName,
// and that of its deprecated alias, which counts if the first is removed.
func WorkloadServiceAccounts(d *appsv1ac.DeploymentApplyConfiguration) []string {
	var names []string
	spec := d.Spec.Template.Spec
	for _, name := range []*string{spec.ServiceAccountName, spec.DeprecatedServiceAccount} {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	return names
}
