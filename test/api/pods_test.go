package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// noFixedUsers refuses, as OpenShift's restricted-v2 does, pods that choose a user or a group that the platform would not assign.
const noFixedUsers = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-fixed-users}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    namespaceSelector: {matchLabels: {users: assigned}}
  variables:
  - name: contexts
    expression: >-
      (object.spec.containers + object.spec.?initContainers.orValue([])).map(c, c.?securityContext)
  validations:
  - message: the pod chooses a user or a group
    expression: >-
      [object.spec.?securityContext.runAsUser, object.spec.?securityContext.runAsGroup, object.spec.?securityContext.fsGroup]
      .all(id, id.orValue(1000000000) >= 1000000000)
      && variables.contexts.all(c, c.runAsUser.orValue(1000000000) >= 1000000000 && c.runAsGroup.orValue(1000000000) >= 1000000000)
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-fixed-users}
spec: {policyName: no-fixed-users, validationActions: [Deny]}
`

func TestPodsHoldRestrictedAndChooseNoUser(t *testing.T) {
	c := newClient(t)
	namespace := &unstructured.Unstructured{}
	parse(t, `{apiVersion: v1, kind: Namespace, metadata: {name: assigned, labels: {users: assigned, pod-security.kubernetes.io/enforce: restricted}}}`, namespace)
	if err := create(t, c, namespace); err != nil {
		t.Fatal(err)
	}
	installManifests(t, c, strings.NewReader(noFixedUsers), func() error { return dryRun(c, pod(t, `{securityContext: {runAsUser: 65532}}`)) })

	for name, row := range map[string]struct{ master, refinery string }{
		"as they are":          {`{}`, `{}`},
		"shared certificate":   {`{security: {transport: ServerTLS, authentication: SharedCertificate}}`, `{}`},
		"provided certificate": {`{}`, `{certificateSecretRef: {name: own}}`},
		"workload":             {`{}`, `{template: {spec: {containers: [{name: app, image: a}], initContainers: [{name: before, image: a}]}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, r := &v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}
			m.Name, m.Namespace, r.Name, r.Namespace = "alpha", "assigned", "press", "assigned"
			parse(t, row.master, &m.Spec)
			parse(t, row.refinery, &r.Spec)
			images := resource.Images{Master: "m", Refinery: "r", PullPolicy: corev1.PullAlways}
			masters, err := resource.MasterDeployment(m, images)
			accept(t, c, masters, err)
			nodes, err := resource.RefineryDeployment(r, m, images)
			accept(t, c, nodes, err)
		})
	}
}

// accept fails unless the API server takes the pods of a Deployment.
func accept(t *testing.T, c client.Client, d *appsv1ac.DeploymentApplyConfiguration, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d.Spec.Template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := dryRun(c, pod(t, string(raw))); err != nil {
		t.Errorf("Deployment %s: %v", *d.Name, err)
	}
}

// pod is one with the spec, and a container that holds "restricted" if the spec has none.
func pod(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	parse(t, spec, &p.Spec)
	p.Name, p.Namespace = "a", "assigned"
	if len(p.Spec.Containers) == 0 {
		parse(t, `[{name: a, image: a, securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}}]`,
			&p.Spec.Containers)
	}
	return p
}

func dryRun(c client.Client, p *corev1.Pod) error {
	return c.Create(context.Background(), p, client.DryRunAll)
}

func parse(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
