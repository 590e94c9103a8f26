// Package resource builds the objects that the operator owns. Each builder is a pure function from a
// ClusterMaster or Refinery and its inputs to an apply configuration, one object a file.
package resource

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Labels of every owned object. Pods are selected by name, instance and component.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelPartOf    = "app.kubernetes.io/part-of"

	// ManagedBy is the value of LabelManagedBy, by which the operator finds its own objects.
	ManagedBy = "refinery-operator"
	// MasterComponent is the value of LabelComponent on what a ClusterMaster owns.
	MasterComponent = "master"
)

// AgentContainer is the container of the refinery agent.
const AgentContainer = "refinery-agent"

const (
	certificateDirectory = "/etc/refinery/tls"
	sharedDirectory      = "/etc/refinery/shared"
	peerDirectory        = "/etc/refinery/peer"
	runDirectory         = "/run/refinery"
	masterDirectory      = "/etc/refinery/master"

	// ownVolumes begins the names of the operator's volumes.
	ownVolumes        = "refinery-"
	certificateVolume = "refinery-tls"
	sharedVolume      = "refinery-shared"
	peerVolume        = "refinery-peer"
	runVolume         = "refinery-run"
	masterVolume      = "refinery-master"
	noTokenVolume     = "refinery-no-token"
)

// Images are the container images that the operator runs. They are its configuration, never a CR's.
type Images struct {
	Master, Refinery string
	PullPolicy       corev1.PullPolicy
	// PullSecrets are names of Secrets in the namespace of the pods, with which both are pulled.
	PullSecrets []string
}

// MasterLabels are the labels of every object of a ClusterMaster.
func MasterLabels(m *v1alpha1.ClusterMaster) map[string]string {
	return withOwnership(MasterSelector(m))
}

// MasterSelector selects the pods of a ClusterMaster.
func MasterSelector(m *v1alpha1.ClusterMaster) map[string]string {
	return selector("refinery-operator-master", m.Name, MasterComponent)
}

// RefineryLabels are the labels of every object of a Refinery.
func RefineryLabels(r *v1alpha1.Refinery) map[string]string {
	return withOwnership(RefinerySelector(r))
}

// RefinerySelector selects the pods of a Refinery.
func RefinerySelector(r *v1alpha1.Refinery) map[string]string {
	return selector("refinery", r.Name, "refinery")
}

// AnyRefinerySelector selects what belongs to Refineries, whichever.
func AnyRefinerySelector() map[string]string {
	of := RefinerySelector(&v1alpha1.Refinery{})
	delete(of, LabelInstance)
	return of
}

// FormatSelector writes a selector the way that status.selector and kubectl take it.
func FormatSelector(selector map[string]string) string {
	return labels.SelectorFromSet(selector).String()
}

func selector(name, instance, component string) map[string]string {
	return map[string]string{LabelName: name, LabelInstance: instance, LabelComponent: component}
}

func withOwnership(selector map[string]string) map[string]string {
	selector[LabelManagedBy] = ManagedBy
	selector[LabelPartOf] = "refinery-operator"
	return selector
}

// masterOwner makes the garbage collector delete what a ClusterMaster owns with it.
func masterOwner(m *v1alpha1.ClusterMaster) *metav1ac.OwnerReferenceApplyConfiguration {
	return ownerReference("ClusterMaster").WithName(m.Name).WithUID(m.UID)
}

// refineryOwner makes the garbage collector delete what a Refinery owns with it.
func refineryOwner(r *v1alpha1.Refinery) *metav1ac.OwnerReferenceApplyConfiguration {
	return ownerReference("Refinery").WithName(r.Name).WithUID(r.UID)
}

func ownerReference(kind string) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind(kind).
		WithController(true).WithBlockOwnerDeletion(true)
}

// podSecurity and containerSecurity together satisfy the Pod Security Standard "restricted". Neither chooses a user: each image
// names its own, by number, and platforms that assign users refuse pods that choose one.
func podSecurity() *v1.PodSecurityContextApplyConfiguration {
	return v1.PodSecurityContext().WithRunAsNonRoot(true).
		WithSeccompProfile(v1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
}

func containerSecurity() *v1.SecurityContextApplyConfiguration {
	return v1.SecurityContext().WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
		WithCapabilities(v1.Capabilities().WithDrop("ALL"))
}

// certificateKeys are the keys of a certificate Secret that a pod needs.
var certificateKeys = []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, v1alpha1.AuthorityKey}

// secretVolume mounts the keys that are needed, and nothing else that the Secret may hold. Its files have Kubernetes' default mode,
// 0644: what user a pod runs as is not known here, and only containers that mount the volume see it.
func secretVolume(name, secret string, keys ...string) *v1.VolumeApplyConfiguration {
	source := v1.SecretVolumeSource().WithSecretName(secret)
	for _, key := range keys {
		source.WithItems(v1.KeyToPath().WithKey(key).WithPath(key))
	}
	return v1.Volume().WithName(name).WithSecret(source)
}

// sharedMemory is an empty volume for a few small files. One on disk would keep cluster autoscalers from removing a Kubernetes node.
func sharedMemory(name string) *v1.VolumeApplyConfiguration {
	return v1.Volume().WithName(name).WithEmptyDir(v1.EmptyDirVolumeSource().
		WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("1Mi")))
}

func readOnlyMount(volume, path string) *v1.VolumeMountApplyConfiguration {
	return v1.VolumeMount().WithName(volume).WithMountPath(path).WithReadOnly(true)
}

// pullSecrets are the operator's own and then those of a CR, each once.
func (i Images) pullSecrets(chosen []v1alpha1.LocalReference) []*v1.LocalObjectReferenceApplyConfiguration {
	var references []*v1.LocalObjectReferenceApplyConfiguration
	names := slices.Clone(i.PullSecrets)
	for _, reference := range chosen {
		if !slices.Contains(names, reference.Name) {
			names = append(names, reference.Name)
		}
	}
	for _, name := range names {
		references = append(references, v1.LocalObjectReference().WithName(name))
	}
	return references
}

func fieldEnv(name, path string) *v1.EnvVarApplyConfiguration {
	return v1.EnvVar().WithName(name).
		WithValueFrom(v1.EnvVarSource().WithFieldRef(v1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)))
}

func httpProbe(path, port string, periodSeconds int32) *v1.ProbeApplyConfiguration {
	return v1.Probe().WithPeriodSeconds(periodSeconds).WithTimeoutSeconds(3).
		WithHTTPGet(v1.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(port)))
}
