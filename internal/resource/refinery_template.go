package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// TemplateError says what is wrong with a user's spec.template.
type TemplateError struct{ Message string }

// Error returns the message.
func (e *TemplateError) Error() string { return e.Message }

func templateErrorf(format string, args ...any) error {
	return &TemplateError{Message: fmt.Sprintf("spec.template "+format, args...)}
}

// refineryPodTemplate merges the user's template over the base, as kubectl patch --type=strategic would,
// and makes sure that the agent is still what the operator made it.
func refineryPodTemplate(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, images Images) (*v1.PodTemplateSpecApplyConfiguration, error) {
	if r.Spec.Template == nil || len(r.Spec.Template.Raw) == 0 {
		return basePodTemplate(r, m, images, false), nil
	}
	patch, template, err := parseTemplate(r.Spec.Template.Raw)
	if err != nil {
		return nil, err
	}
	sidecar := hasWorkload(template)
	base := map[string]any{}
	if err := toUnstructured(adjustTo(template, basePodTemplate(r, m, images, sidecar)), &base); err != nil {
		return nil, err
	}
	reference := map[string]any{} // the merge writes into its original
	if err := toUnstructured(base, &reference); err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(base, patch, corev1.PodTemplateSpec{})
	if err != nil && strings.Contains(err.Error(), "merge key") { // it repeats the item, secrets and all
		return nil, templateErrorf("has a list item without its key, such as the name of a container, a variable or a volume")
	}
	if err != nil {
		return nil, templateErrorf("cannot be merged: %v", err)
	}
	if err := checkAgent(merged, reference, sidecar); err != nil {
		return nil, err
	}
	return finishTemplate(merged, r)
}

// parseTemplate returns a template as a patch and as what it is.
func parseTemplate(raw []byte) (patch map[string]any, template *corev1.PodTemplateSpec, err error) {
	if err := utiljson.Unmarshal(raw, &patch); err != nil {
		return nil, nil, templateErrorf("is not an object: %v", err)
	}
	template = &corev1.PodTemplateSpec{}
	if err := json.Unmarshal(raw, template); err != nil {
		return nil, nil, templateErrorf("is not a valid PodTemplateSpec: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return patch, template, nil
}

// hasWorkload reports whether a template has containers of the workload.
func hasWorkload(template *corev1.PodTemplateSpec) bool {
	return slices.ContainsFunc(template.Spec.Containers, func(c corev1.Container) bool { return c.Name != AgentContainer })
}

// checkAgent compares what the agent lives on with the reference, the base before the merge.
// Only the agent's resources are the user's to choose.
func checkAgent(merged, reference map[string]any, sidecar bool) error {
	list, other := "containers", "initContainers"
	if sidecar {
		list, other = other, list
	}
	agent, wanted := itemNamed(merged, list, AgentContainer), itemNamed(reference, list, AgentContainer)
	if agent == nil {
		return templateErrorf("removes container %s: it belongs to the operator", AgentContainer)
	}
	if itemNamed(merged, other, AgentContainer) != nil {
		return templateErrorf("has a container %s in spec.%s; the agent is in spec.%s here", AgentContainer, other, list)
	}
	if fields := differingFields(agent, wanted, "resources"); len(fields) > 0 {
		return templateErrorf("changes %s of container %s: only its resources can be chosen", strings.Join(fields, ", "), AgentContainer)
	}
	return checkVolumes(merged, reference)
}

// checkVolumes refuses every difference between the volumes whose names are the operator's.
func checkVolumes(merged, reference map[string]any) error {
	got, want := ownVolumesOf(merged), ownVolumesOf(reference)
	for _, name := range differingFields(got, want, "") {
		return templateErrorf("changes volume %s: names of volumes that begin with %s belong to the operator", name, ownVolumes)
	}
	return nil
}

// finishTemplate decodes the merged template, unknown fields refused, and puts in what holds for every
// pod: our labels, the agent first, and safe defaults for the user's containers.
func finishTemplate(merged map[string]any, r *v1alpha1.Refinery) (*v1.PodTemplateSpecApplyConfiguration, error) {
	raw, err := json.Marshal(merged)
	if err != nil {
		return nil, templateErrorf("cannot be encoded: %v", err)
	}
	strict, typed := json.NewDecoder(bytes.NewReader(raw)), &corev1.PodTemplateSpec{}
	strict.DisallowUnknownFields()
	if err := strict.Decode(typed); err != nil {
		return nil, templateErrorf("is not a valid PodTemplateSpec: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	kept := map[string]any{}
	if err := toUnstructured(typed, &kept); err != nil {
		return nil, err
	}
	withoutEmpty(merged, kept)
	if raw, err = json.Marshal(merged); err != nil {
		return nil, templateErrorf("cannot be encoded: %v", err)
	}
	template := v1.PodTemplateSpec()
	if err := json.Unmarshal(raw, template); err != nil {
		return nil, templateErrorf("is not a valid PodTemplateSpec: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := checkPorts(slices.Concat(template.Spec.InitContainers, template.Spec.Containers), agentPortsOf(r)); err != nil {
		return nil, err
	}
	template.WithLabels(RefineryLabels(r))
	slices.SortStableFunc(template.Spec.InitContainers, func(a, b v1.ContainerApplyConfiguration) int {
		return boolToInt(isAgent(b)) - boolToInt(isAgent(a))
	})
	for _, containers := range [][]v1.ContainerApplyConfiguration{template.Spec.InitContainers, template.Spec.Containers} {
		for i := range containers {
			if err := finishContainer(&containers[i]); err != nil {
				return nil, err
			}
		}
	}
	setDefaults(template.Spec)
	return template, nil
}

// checkPorts refuses ports on which the agent listens: the containers of a pod share one address.
func checkPorts(containers []v1.ContainerApplyConfiguration, agents []int32) error {
	for _, c := range containers {
		if isAgent(c) {
			continue
		}
		for _, port := range c.Ports {
			if p := port.ContainerPort; p != nil && slices.Contains(agents, *p) {
				return templateErrorf("has port %d in container %s: %s are the agent's; choose another port",
					*p, nameOf(&c), enumerate(agents))
			}
		}
	}
	return nil
}

// enumerate is "1, 2 and 3" of at least two numbers.
func enumerate(numbers []int32) string {
	last := len(numbers) - 1
	words := fmt.Sprint(numbers[0])
	for _, n := range numbers[1:last] {
		words += fmt.Sprintf(", %d", n)
	}
	return fmt.Sprintf("%s and %d", words, numbers[last])
}

// finishContainer shows the upstream to a container of the workload, and fills in what Pod Security
// "restricted" asks of it where the user chose nothing.
func finishContainer(c *v1.ContainerApplyConfiguration) error {
	if isAgent(*c) {
		return nil
	}
	if err := dropOverridden(c); err != nil {
		return err
	}
	taken := slices.ContainsFunc(c.VolumeMounts, func(m v1.VolumeMountApplyConfiguration) bool {
		return m.MountPath != nil && strings.TrimSuffix(*m.MountPath, "/") == runDirectory
	})
	if !taken {
		c.WithVolumeMounts(readOnlyMount(runVolume, runDirectory))
	}
	if c.SecurityContext == nil {
		c.SecurityContext = v1.SecurityContext()
	}
	if c.SecurityContext.AllowPrivilegeEscalation == nil && c.SecurityContext.Privileged == nil {
		c.SecurityContext.WithAllowPrivilegeEscalation(false)
	}
	if c.SecurityContext.Capabilities == nil {
		c.SecurityContext.WithCapabilities(v1.Capabilities().WithDrop("ALL"))
	}
	return nil
}

func isAgent(c v1.ContainerApplyConfiguration) bool {
	return c.Name != nil && *c.Name == AgentContainer
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ownVolumesOf are the volumes of a template, by name, whose names are the operator's.
func ownVolumesOf(template map[string]any) map[string]any {
	own := map[string]any{}
	spec, _ := template["spec"].(map[string]any)
	volumes, _ := spec["volumes"].([]any)
	for _, volume := range volumes {
		object, _ := volume.(map[string]any)
		if name, ok := object["name"].(string); ok && strings.HasPrefix(name, ownVolumes) {
			own[name] = object
		}
	}
	return own
}

// itemNamed returns the item of spec.<list> with a name, or nil.
func itemNamed(template map[string]any, list, name string) map[string]any {
	spec, _ := template["spec"].(map[string]any)
	items, _ := spec[list].([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok && object["name"] == name {
			return object
		}
	}
	return nil
}

// differingFields are the names of the fields, sorted, in which two objects differ, but for the one free field.
func differingFields(a, b map[string]any, free string) []string {
	var fields []string
	for key := range a {
		if _, ok := b[key]; !ok && key != free {
			fields = append(fields, key)
		}
	}
	for key := range b {
		if key != free && !reflect.DeepEqual(a[key], b[key]) {
			fields = append(fields, key)
		}
	}
	slices.Sort(fields)
	return fields
}

// toUnstructured carries a value over into its JSON form, integers kept.
func toUnstructured(from any, to *map[string]any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("encode %T: %w", from, err)
	}
	if err := utiljson.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("decode %T: %w", from, err)
	}
	return nil
}
