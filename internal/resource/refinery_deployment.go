package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
)

// RefineryDeployment runs the nodes of a Refinery: the agent as a native sidecar ahead of the user's
// containers, or, without such, the agent alone. An error is a *TemplateError.
func RefineryDeployment(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, images Images) (*appsv1ac.DeploymentApplyConfiguration, error) {
	template, err := refineryPodTemplate(r, m, images)
	if err != nil {
		return nil, err
	}
	spec := appsv1ac.DeploymentSpec().
		WithReplicas(r.WantedNodes()).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(RefinerySelector(r))).
		WithTemplate(template)
	if err := addRollout(spec, r.Spec.Rollout, intstr.FromString("25%"), r.Namespace); err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(r.Name, r.Namespace).
		WithLabels(RefineryLabels(r)).WithOwnerReferences(refineryOwner(r)).WithSpec(spec), nil
}

// basePodTemplate is the pod before the user's template is merged in.
func basePodTemplate(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, images Images, sidecar bool) *v1.PodTemplateSpecApplyConfiguration {
	spec := v1.PodSpec().
		WithServiceAccountName(RefineryServiceAccountName(r)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithImagePullSecrets(images.pullSecrets(r.Spec.ImagePullSecrets)...).
		WithSecurityContext(podSecurity()).
		WithTerminationGracePeriodSeconds(30).
		WithVolumes(sharedMemory(runVolume),
			v1.Volume().WithName(masterVolume).WithConfigMap(v1.ConfigMapVolumeSource().WithName(m.NodesName()).
				WithItems(v1.KeyToPath().WithKey(masterfile.Name).WithPath(masterfile.Name))))
	if m.NodeMode().Transport != v1alpha1.TransportPlaintext {
		spec.WithVolumes(refineryCertificateVolume(r, m))
	}
	if m.NodeMode().Authentication == v1alpha1.AuthenticationSharedCertificate {
		spec.WithVolumes(secretVolume(sharedVolume, m.SharedSecretName(), v1alpha1.SharedCertificateKey))
	}
	agent := agentContainer(r, m, images)
	if sidecar {
		spec.WithInitContainers(agent.WithRestartPolicy(corev1.ContainerRestartPolicyAlways))
	} else {
		spec.WithContainers(agent)
	}
	return v1.PodTemplateSpec().WithLabels(RefineryLabels(r)).WithSpec(spec)
}

// refineryCertificateVolume is the Secret that the operator issued, or the user's with the trust bundle
// of the master beside it: kubectl create secret tls makes Secrets without one. It is the Secret in use, so that pods
// that start do not wait for one that is missing.
func refineryCertificateVolume(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster) *v1.VolumeApplyConfiguration {
	name := r.SecretInUse()
	if !r.IsProvided(name) {
		return secretVolume(certificateVolume, name, certificateKeys...)
	}
	return v1.Volume().WithName(certificateVolume).WithProjected(v1.ProjectedVolumeSource().WithSources(
		projected(name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
		projected(m.CertificateSecretName(), v1alpha1.AuthorityKey),
	))
}

func projected(secret string, keys ...string) *v1.VolumeProjectionApplyConfiguration {
	source := v1.SecretProjection().WithName(secret)
	for _, key := range keys {
		source.WithItems(v1.KeyToPath().WithKey(key).WithPath(key))
	}
	return v1.VolumeProjection().WithSecret(source)
}

func agentContainer(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, images Images) *v1.ContainerApplyConfiguration {
	container := v1.Container().WithName(AgentContainer).
		WithImage(images.Refinery).WithImagePullPolicy(images.PullPolicy).
		WithArgs(agentArgs(r, m)...).
		WithEnv(fieldEnv("POD_NAME", "metadata.name")).WithEnv(variables(r.Spec.Agent.Env)...).
		WithPorts(v1.ContainerPort().WithName("agent").WithContainerPort(healthPortOf(r)).WithProtocol(corev1.ProtocolTCP)).
		WithStartupProbe(httpProbe("/healthz", "agent", 2).WithFailureThreshold(30)).
		WithLivenessProbe(httpProbe("/healthz", "agent", 10).WithFailureThreshold(3)).
		WithReadinessProbe(httpProbe("/readyz", "agent", 5).WithFailureThreshold(2)).
		WithResources(agentResources(r)).
		// Its own profile, so that what the template chooses for the pod does not reach the agent.
		WithSecurityContext(containerSecurity().WithRunAsNonRoot(true).
			WithSeccompProfile(v1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithVolumeMounts(v1.VolumeMount().WithName(runVolume).WithMountPath(runDirectory), readOnlyMount(masterVolume, masterDirectory))
	if relay := r.Spec.Agent.Relay; relay != nil {
		container.WithPorts(v1.ContainerPort().WithName("relay").WithContainerPort(relay.Port).WithProtocol(corev1.ProtocolTCP))
	}
	if m.NodeMode().Transport != v1alpha1.TransportPlaintext {
		container.WithVolumeMounts(readOnlyMount(certificateVolume, certificateDirectory))
	}
	if m.NodeMode().Authentication == v1alpha1.AuthenticationSharedCertificate {
		container.WithVolumeMounts(readOnlyMount(sharedVolume, sharedDirectory))
	}
	return container
}

func agentArgs(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster) []string {
	args := []string{
		"--server-name=" + MasterServerName(m),
		"--master-file=" + masterDirectory + "/" + masterfile.Name,
		"--transport=" + string(m.NodeMode().Transport),
		"--id=" + r.Name + "/$(POD_NAME)",
		"--type=" + r.Spec.Type,
		"--certificate-dir=" + certificateDirectory,
		"--upstream-file=" + runDirectory + "/upstream.json",
		fmt.Sprintf("--http-address=127.0.0.1:%d", httpPortOf(r)),
		fmt.Sprintf("--health-address=:%d", healthPortOf(r)),
	}
	args = append(args, relayArgs(r.Spec.Agent.Relay)...)
	if level := r.Spec.Agent.LogLevel; level != "" {
		args = append(args, "--log-level="+level)
	}
	if grace := r.Spec.ReadinessGraceSeconds; grace != nil {
		args = append(args, fmt.Sprintf("--readiness-grace=%ds", *grace))
	}
	if r.Spec.Version != "" {
		args = append(args, "--version="+r.Spec.Version)
	}
	if m.NodeMode().Authentication == v1alpha1.AuthenticationSharedCertificate {
		args = append(args, "--shared-certificate-file="+sharedDirectory+"/"+v1alpha1.SharedCertificateKey)
	}
	return args
}
