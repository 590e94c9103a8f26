package resource

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// masterHealthPort serves probes and metrics of a master.
const masterHealthPort = 8080

// MasterDeployment runs the pods of a master: one active, the rest warm. Certificates are mounted as
// directories, so that new ones arrive without a restart.
func MasterDeployment(m *v1alpha1.ClusterMaster, images Images) (*appsv1ac.DeploymentApplyConfiguration, error) {
	template := podTemplateOf(m)
	spec, err := masterPod(m, template, images)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for key, value := range template.Metadata.Labels {
		labels[key] = value
	}
	for key, value := range MasterLabels(m) {
		labels[key] = value
	}
	pod := v1.PodTemplateSpec().WithLabels(labels).WithSpec(spec)
	if len(template.Metadata.Annotations) > 0 {
		pod.WithAnnotations(template.Metadata.Annotations)
	}
	revision, err := digest(pod)
	if err != nil {
		return nil, err
	}
	deployment := appsv1ac.DeploymentSpec().
		WithReplicas(m.WantedPods()).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(MasterSelector(m))).
		WithTemplate(pod)
	// A new pod is warm before an old one goes: a failover, not an outage.
	if err := addRollout(deployment, m.Spec.Rollout, intstr.FromInt32(1), m.Namespace); err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(m.Name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithAnnotations(map[string]string{revisionAnnotation: revision}).
		WithSpec(deployment), nil
}

func podTemplateOf(m *v1alpha1.ClusterMaster) v1alpha1.MasterPodTemplate {
	if m.Spec.Template == nil {
		return v1alpha1.MasterPodTemplate{}
	}
	return *m.Spec.Template
}

// masterPod takes what the user may choose from template through its JSON form, in which it is an
// apply configuration already.
func masterPod(m *v1alpha1.ClusterMaster, template v1alpha1.MasterPodTemplate, images Images) (*v1.PodSpecApplyConfiguration, error) {
	spec := v1.PodSpec()
	chosen := corev1.PodSpec{
		NodeSelector:              template.NodeSelector,
		Tolerations:               template.Tolerations,
		Affinity:                  template.Affinity,
		TopologySpreadConstraints: template.TopologySpreadConstraints,
		PriorityClassName:         template.PriorityClassName,
	}
	if template.RuntimeClassName != "" {
		chosen.RuntimeClassName = &template.RuntimeClassName
	}
	if err := convertJSON(chosen, spec); err != nil {
		return nil, fmt.Errorf("spec.template: %w", err)
	}
	if len(template.TopologySpreadConstraints) == 0 {
		spec.WithTopologySpreadConstraints(spreadOver(corev1.LabelTopologyZone, m), spreadOver(corev1.LabelHostname, m))
	}
	container := masterContainer(m, images).WithEnv(variables(template.Env)...)
	if template.Resources.Requests != nil || template.Resources.Limits != nil || template.Resources.Claims != nil {
		container.Resources = v1.ResourceRequirements()
		if err := convertJSON(template.Resources, container.Resources); err != nil {
			return nil, fmt.Errorf("spec.template.resources: %w", err)
		}
	}
	pod := podSecurity()
	if err := errors.Join(convertJSON(template.PodSecurityContext, pod), convertJSON(template.SecurityContext, container.SecurityContext)); err != nil {
		return nil, fmt.Errorf("spec.template: %w", err)
	}
	spec.WithServiceAccountName(MasterServiceAccountName(m)).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithImagePullSecrets(images.pullSecrets(m.Spec.ImagePullSecrets)...).
		WithSecurityContext(pod).
		WithTerminationGracePeriodSeconds(30).
		WithVolumes(secretVolume(certificateVolume, m.CertificateSecretName(), certificateKeys...),
			secretVolume(peerVolume, m.PeerName(), corev1.TLSCertKey, corev1.TLSPrivateKeyKey))
	if err := addVolumes(spec, container, template.Volumes); err != nil {
		return nil, err
	}
	if m.UsesShared() {
		var keys []string // all of them, as they come and go
		if provided, _ := m.ProvidedSharedSecretName(); provided == m.SharedSecretName() {
			keys = []string{v1alpha1.SharedCertificateKey} // whatever else a person keeps there is not meant for this
		}
		spec.WithVolumes(secretVolume(sharedVolume, m.SharedSecretName(), keys...))
	}
	return spec.WithContainers(container), nil
}

// addVolumes adds volumes that the user chose, and mounts them.
func addVolumes(spec *v1.PodSpecApplyConfiguration, container *v1.ContainerApplyConfiguration, chosen []v1alpha1.MasterVolume) error {
	for _, c := range chosen {
		volume := v1.Volume()
		err := convertJSON(corev1.Volume{Name: string(c.Name), VolumeSource: corev1.VolumeSource{ConfigMap: c.ConfigMap, EmptyDir: c.EmptyDir,
			PersistentVolumeClaim: c.PersistentVolumeClaim, CSI: c.CSI}}, volume)
		if err != nil {
			return fmt.Errorf("spec.template.volumes: %w", err)
		}
		mount := v1.VolumeMount().WithName(string(c.Name)).WithMountPath(c.MountPath)
		if c.ReadOnly {
			mount.WithReadOnly(true)
		}
		spec.WithVolumes(volume)
		container.WithVolumeMounts(mount)
	}
	return nil
}

func masterContainer(m *v1alpha1.ClusterMaster, images Images) *v1.ContainerApplyConfiguration {
	container := v1.Container().WithName("master").
		WithImage(images.Master).WithImagePullPolicy(images.PullPolicy).
		WithArgs(
			"--namespace=$(POD_NAMESPACE)",
			"--name="+m.Name,
			"--pod-name=$(POD_NAME)",
			"--pod-ips=$(POD_IPS)",
			"--node-name=$(NODE_NAME)",
			"--certificate-dir="+certificateDirectory,
			fmt.Sprintf("--listen=:%d", v1alpha1.DefaultPort),
			fmt.Sprintf("--health-address=:%d", masterHealthPort),
			"--peers="+masterPeers(m),
			fmt.Sprintf("--peer-listen=:%d", v1alpha1.PeerPort),
			"--peer-certificate-dir="+peerDirectory,
		).
		WithEnv(fieldEnv("POD_NAMESPACE", "metadata.namespace"), fieldEnv("POD_NAME", "metadata.name"),
			fieldEnv("POD_IPS", "status.podIPs"), fieldEnv("NODE_NAME", "spec.nodeName")).
		WithPorts(
			v1.ContainerPort().WithName(clusterPort).WithContainerPort(v1alpha1.DefaultPort).WithProtocol(corev1.ProtocolTCP),
			v1.ContainerPort().WithName(peerPort).WithContainerPort(v1alpha1.PeerPort).WithProtocol(corev1.ProtocolTCP),
			v1.ContainerPort().WithName("health").WithContainerPort(masterHealthPort).WithProtocol(corev1.ProtocolTCP),
		).
		WithStartupProbe(httpProbe("/healthz", "health", 2).WithFailureThreshold(30)).
		WithLivenessProbe(httpProbe("/healthz", "health", 10).WithFailureThreshold(3)).
		WithReadinessProbe(httpProbe("/readyz", "health", 5).WithFailureThreshold(2)).
		// No limits: memory follows the number of sessions, up to spec.protocol.maxSessions.
		WithResources(v1.ResourceRequirements().WithRequests(requests("50m", "64Mi"))).
		WithSecurityContext(containerSecurity()).
		WithVolumeMounts(readOnlyMount(certificateVolume, certificateDirectory), readOnlyMount(peerVolume, peerDirectory))
	if m.Spec.Service.ProxyProtocol != nil {
		container.WithArgs(fmt.Sprintf("--proxy-listen=:%d", v1alpha1.ProxyPort)).
			WithPorts(v1.ContainerPort().WithName(proxyPort).WithContainerPort(v1alpha1.ProxyPort).WithProtocol(corev1.ProtocolTCP))
	}
	if m.UsesShared() {
		container.WithArgs("--shared-certificate-file=" + sharedDirectory + "/" + v1alpha1.SharedCertificateKey).
			WithVolumeMounts(readOnlyMount(sharedVolume, sharedDirectory))
	}
	return container
}

// spreadOver prefers different zones or Kubernetes nodes for the pods of one version of a ClusterMaster, and does not insist.
func spreadOver(topologyKey string, m *v1alpha1.ClusterMaster) *v1.TopologySpreadConstraintApplyConfiguration {
	return v1.TopologySpreadConstraint().WithMaxSkew(1).
		WithTopologyKey(topologyKey).
		WithWhenUnsatisfiable(corev1.ScheduleAnyway).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(MasterSelector(m))).
		WithMatchLabelKeys(appsv1.DefaultDeploymentUniqueLabelKey)
}

func rollingUpdate(surge, unavailable intstr.IntOrString) *appsv1ac.DeploymentStrategyApplyConfiguration {
	return appsv1ac.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(appsv1ac.RollingUpdateDeployment().WithMaxSurge(surge).WithMaxUnavailable(unavailable))
}

func requests(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}
}
