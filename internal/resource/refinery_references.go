package resource

import (
	"slices"
	"strings"

	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
)

// WorkloadSecrets are the names of the Secrets, sorted and each once, that the user's template brings into
// the pods of a Refinery: as volumes, in projected volumes, as variables.
func WorkloadSecrets(d *appsv1ac.DeploymentApplyConfiguration) []string {
	var names []string
	add := func(name *string) {
		if name != nil {
			names = append(names, *name)
		}
	}
	spec := d.Spec.Template.Spec
	for _, volume := range spec.Volumes {
		if strings.HasPrefix(ptr.Deref(volume.Name, ""), ownVolumes) {
			continue
		}
		if volume.Secret != nil {
			add(volume.Secret.SecretName)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				add(source.Secret.Name)
			}
		}
	}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		addVariables(container, add)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func addVariables(container v1.ContainerApplyConfiguration, add func(*string)) {
	for _, source := range container.EnvFrom {
		if source.SecretRef != nil {
			add(source.SecretRef.Name)
		}
	}
	for _, variable := range container.Env {
		if source := variable.ValueFrom; source != nil && source.SecretKeyRef != nil {
			add(source.SecretKeyRef.Name)
		}
	}
}

// WorkloadServiceAccounts are the names of the ServiceAccounts that a pod may run as: the field's, and
// that of its deprecated alias, which counts where the field is taken away.
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
