package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// object is any object, or a part of one.
type object = map[string]any

// olmMetadata says what kind of bundle it is, and in which channel.
const olmMetadata = `annotations:
  operators.operatorframework.io.bundle.mediatype.v1: registry+v1
  operators.operatorframework.io.bundle.manifests.v1: manifests/
  operators.operatorframework.io.bundle.metadata.v1: metadata/
  operators.operatorframework.io.bundle.package.v1: refinery-operator
  operators.operatorframework.io.bundle.channels.v1: stable
  operators.operatorframework.io.bundle.channel.default.v1: stable
`

// olm packs config/default as a bundle of the Operator Lifecycle Manager.
func (r *release) olm(context.Context) error {
	dir := filepath.Join(r.work, "olm")
	for _, folder := range []string{"manifests", "metadata"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	csv, err := r.serviceVersion()
	if err != nil {
		return err
	}
	files := map[string]any{"refinery-operator.clusterserviceversion.yaml": csv}
	rendered, err := r.render("config/default")
	if err != nil {
		return err
	}
	if err := sortIntoBundle(rendered, csv, files); err != nil {
		return err
	}
	var members []member
	for _, name := range slices.Sorted(maps.Keys(files)) {
		packed, err := yaml.Marshal(files[name])
		if err != nil {
			return err
		}
		members = append(members, member{name: "manifests/" + name, from: filepath.Join(dir, "manifests", name)})
		if err := os.WriteFile(filepath.Join(dir, "manifests", name), r.withImages(packed), 0o644); err != nil {
			return err
		}
	}
	metadata := filepath.Join(dir, "metadata", "annotations.yaml")
	if err := os.WriteFile(metadata, []byte(olmMetadata), 0o644); err != nil {
		return err
	}
	packed, err := tarball(append(members, member{name: "metadata/annotations.yaml", from: metadata}), r.date)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("olm-bundle_%s.tar.gz", r.version), packed)
}

// serviceVersion is config/olm with what a release knows.
func (r *release) serviceVersion() (object, error) {
	content, err := os.ReadFile(filepath.Join(r.source, "config", "olm", "clusterserviceversion.yaml"))
	if err != nil {
		return nil, err
	}
	var csv object
	if err := yaml.Unmarshal(content, &csv); err != nil {
		return nil, err
	}
	samples, err := r.render("config/samples")
	if err != nil {
		return nil, err
	}
	var examples []object
	for _, sample := range samples.Resources() {
		if strings.HasPrefix(sample.GetApiVersion(), "cluster.refinery.dev/") {
			fields, err := sample.Map()
			if err != nil {
				return nil, err
			}
			examples = append(examples, fields)
		}
	}
	shown, err := json.Marshal(examples)
	if err != nil {
		return nil, err
	}
	metadata := csv["metadata"].(object)
	metadata["name"] = "refinery-operator.v" + r.version
	annotations := metadata["annotations"].(object)
	annotations["alm-examples"], annotations["createdAt"] = string(shown), r.date.Format(time.RFC3339)
	annotations["containerImage"] = image.Prefix + "/operator:" + r.version
	csv["spec"].(object)["version"] = r.version
	return csv, nil
}

// sortIntoBundle puts each object where the Operator Lifecycle Manager wants it: into the ClusterServiceVersion, or into a file. It creates
// namespaces, service accounts and bindings itself, and knows no admission policies.
func sortIntoBundle(rendered resmap.ResMap, csv object, files map[string]any) error {
	const account = "refinery-operator"
	var deployments []any
	rules, bound := map[string][]any{"ClusterRole": nil, "Role": nil}, map[string]bool{}
	for _, binding := range rendered.Resources() {
		if kind := binding.GetKind(); kind == "ClusterRoleBinding" || kind == "RoleBinding" {
			fields, err := binding.Map()
			if err != nil {
				return err
			}
			role := fields["roleRef"].(object)
			bound[fmt.Sprint(role["kind"], "/", role["name"])] = true
		}
	}
	for _, resource := range rendered.Resources() {
		fields, err := resource.Map()
		if err != nil {
			return err
		}
		switch kind := resource.GetKind(); {
		case kind == "Deployment":
			deployments = append(deployments, object{"name": resource.GetName(), "label": resource.GetLabels(), "spec": fields["spec"]})
		case bound[kind+"/"+resource.GetName()]:
			rules[kind] = append(rules[kind], fields["rules"].([]any)...)
		case kind == "CustomResourceDefinition", kind == "ClusterRole", kind == "Service":
			delete(fields["metadata"].(object), "namespace")
			files[resource.GetName()+"."+strings.ToLower(kind)+".yaml"] = fields
		case kind == "Namespace", kind == "ServiceAccount", strings.HasSuffix(kind, "RoleBinding"), strings.HasPrefix(kind, "ValidatingAdmissionPolicy"):
		default:
			return fmt.Errorf("nobody has decided where %s %s belongs in a bundle", kind, resource.GetName())
		}
	}
	csv["spec"].(object)["install"] = object{"strategy": "deployment", "spec": object{
		"deployments":        deployments,
		"clusterPermissions": []any{object{"serviceAccountName": account, "rules": rules["ClusterRole"]}},
		"permissions":        []any{object{"serviceAccountName": account, "rules": rules["Role"]}},
	}}
	return nil
}
