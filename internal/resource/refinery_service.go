package resource

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// RefineryService is how others reach the workload of a Refinery: one port for each of spec.ports.
func RefineryService(r *v1alpha1.Refinery) *v1.ServiceApplyConfiguration {
	spec := v1.ServiceSpec().WithSelector(RefinerySelector(r))
	if r.Spec.Service.Type != "" {
		spec.WithType(r.Spec.Service.Type)
	}
	if r.Spec.Service.Headless {
		spec.WithClusterIP(corev1.ClusterIPNone)
	}
	for _, p := range r.Spec.Ports {
		spec.WithPorts(v1.ServicePort().WithName(p.Name).WithProtocol(cmp.Or(p.Protocol, corev1.ProtocolTCP)).
			WithPort(ptr.Deref(p.Port, p.ContainerPort)).WithTargetPort(intstr.FromInt32(p.ContainerPort)))
	}
	service := v1.Service(r.Name, r.Namespace).
		WithLabels(RefineryLabels(r)).WithOwnerReferences(refineryOwner(r)).
		WithSpec(spec)
	if len(r.Spec.Service.Annotations) > 0 {
		service.WithAnnotations(r.Spec.Service.Annotations)
	}
	return service
}
