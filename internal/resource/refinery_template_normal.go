package resource

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
)

// The API server changes some of what it stores. Where server-side apply compares a field as a whole, what was asked for would never
// be there, and be asked for again in each pass. So a template is brought into the form in which the API server stores it.

// Defaults of the API server.
const (
	defaultTokenSeconds       = int64(3600)
	defaultCertificateSeconds = int32(86400)
)

// withoutEmpty takes out of want, the JSON of a template, what is not in kept, the same JSON after it went through the API's types:
// what is empty, false or 0 and may be left out as well. Like these types it takes names of fields in any case.
func withoutEmpty(want, kept map[string]any) {
	for key, value := range want {
		other, ok := fieldNamed(kept, key)
		if !ok {
			delete(want, key)
			continue
		}
		switch value := value.(type) {
		case map[string]any:
			if other, ok := other.(map[string]any); ok {
				withoutEmpty(value, other)
			}
		case []any:
			others, _ := other.([]any)
			for i, item := range value {
				object, isObject := item.(map[string]any)
				if !isObject || i >= len(others) {
					continue
				}
				if other, ok := others[i].(map[string]any); ok {
					withoutEmpty(object, other)
				}
			}
		}
	}
}

// fieldNamed is the value of a field, whose name may be written in another case.
func fieldNamed(object map[string]any, name string) (any, bool) {
	if value, ok := object[name]; ok {
		return value, true
	}
	for key, value := range object {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return nil, false
}

// setDefaults fills in what the API server would, in fields that are compared as a whole.
func setDefaults(spec *v1.PodSpecApplyConfiguration) {
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, env := range c.Env {
			if env.ValueFrom == nil {
				continue
			}
			defaultSelectors(env.ValueFrom.FieldRef, env.ValueFrom.ResourceFieldRef)
			if file := env.ValueFrom.FileKeyRef; file != nil && file.Optional == nil {
				file.WithOptional(false)
			}
		}
	}
	for i := range spec.Volumes {
		volume := &spec.Volumes[i]
		if volume.DownwardAPI != nil {
			defaultFiles(volume.DownwardAPI.Items)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.DownwardAPI != nil {
				defaultFiles(source.DownwardAPI.Items)
			}
			if token := source.ServiceAccountToken; token != nil && token.ExpirationSeconds == nil {
				token.WithExpirationSeconds(defaultTokenSeconds)
			}
			if certificate := source.PodCertificate; certificate != nil && certificate.MaxExpirationSeconds == nil {
				certificate.WithMaxExpirationSeconds(defaultCertificateSeconds)
			}
		}
	}
}

func defaultFiles(files []v1.DownwardAPIVolumeFileApplyConfiguration) {
	for _, file := range files {
		defaultSelectors(file.FieldRef, file.ResourceFieldRef)
	}
}

func defaultSelectors(field *v1.ObjectFieldSelectorApplyConfiguration, amount *v1.ResourceFieldSelectorApplyConfiguration) {
	if field != nil && field.APIVersion == nil {
		field.WithAPIVersion("v1")
	}
	if amount != nil && amount.Divisor == nil {
		amount.WithDivisor(resource.MustParse("0"))
	}
}

// dropOverridden leaves of the variables of one name in a container the last, which is the one that holds, and of equal ports one:
// server-side apply takes each only once, although a Deployment may have them.
func dropOverridden(c *v1.ContainerApplyConfiguration) error {
	var env []v1.EnvVarApplyConfiguration
	for i, variable := range c.Env {
		name := ptr.Deref(variable.Name, "")
		later := slices.IndexFunc(c.Env[i+1:], func(other v1.EnvVarApplyConfiguration) bool { return ptr.Deref(other.Name, "") == name })
		if later < 0 {
			env = append(env, variable)
			continue
		}
		if reference := "$(" + name + ")"; slices.ContainsFunc(c.Env[i+1:i+2+later], func(other v1.EnvVarApplyConfiguration) bool {
			return strings.Contains(strings.ReplaceAll(ptr.Deref(other.Value, ""), "$$", ""), reference) // $$ is a dollar sign
		}) {
			return templateErrorf("has variable %s twice in container %s, and %s in between: give the first another name", name, nameOf(c), reference)
		}
	}
	c.Env = env
	var ports []v1.ContainerPortApplyConfiguration
	for _, port := range c.Ports {
		same := slices.IndexFunc(ports, func(other v1.ContainerPortApplyConfiguration) bool {
			return ptr.Deref(other.ContainerPort, 0) == ptr.Deref(port.ContainerPort, 0) && protocolOf(other) == protocolOf(port)
		})
		switch {
		case same < 0:
			ports = append(ports, port)
		case ptr.Deref(ports[same].Name, "") != ptr.Deref(port.Name, ""), ptr.Deref(ports[same].HostPort, 0) != ptr.Deref(port.HostPort, 0),
			ptr.Deref(ports[same].HostIP, "") != ptr.Deref(port.HostIP, ""):
			return templateErrorf("has port %d/%s twice in container %s: list it once", ptr.Deref(port.ContainerPort, 0), protocolOf(port), nameOf(c))
		}
	}
	c.Ports = ports
	return nil
}

func protocolOf(port v1.ContainerPortApplyConfiguration) corev1.Protocol {
	return ptr.Deref(port.Protocol, corev1.ProtocolTCP)
}

func nameOf(c *v1.ContainerApplyConfiguration) string { return ptr.Deref(c.Name, "without a name") }
