package controllers_test

import (
	"context"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// mirror has every image of a Deployment pulled from somewhere else, as platforms do.
const mirror = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: mirror}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
    namespaceSelector: {matchLabels: {images: mirrored}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        object.spec.template.spec.containers.all(c, c.image.startsWith("mirror.example/")) ? [] :
        [JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image",
          value: "mirror.example/" + object.spec.template.spec.containers[0].image}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: mirror}
spec: {policyName: mirror}
`

func TestWhatAnAdmissionPolicyRewritesIsLeftSo(t *testing.T) {
	requireServer(t)
	g, ctx := NewWithT(t), t.Context()
	g.SetDefaultEventuallyTimeout(patience)
	for part := range strings.SplitSeq(mirror, "---\n") {
		object := &unstructured.Unstructured{}
		g.Expect(yaml.Unmarshal([]byte(part), object)).To(Succeed())
		g.Expect(api.Create(ctx, object)).To(Succeed())
		t.Cleanup(func() { _ = api.Delete(context.Background(), object) })
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "mirrored-", Labels: map[string]string{"images": "mirrored"}}}
	g.Expect(api.Create(ctx, namespace)).To(Succeed())
	f := fixture{ctx, namespace.Name}
	m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
	g.Expect(api.Create(ctx, m)).To(Succeed())
	g.Expect(api.Create(ctx, r)).To(Succeed())
	imageOf := func(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }
	g.Eventually(func() string { // the API server takes a moment to know a policy
		trial := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "trial"}}
		trial.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		trial.Spec.Template.Labels = trial.Spec.Selector.MatchLabels
		trial.Spec.Template.Spec.Containers = []corev1.Container{{Name: "a", Image: "a"}}
		g.Expect(api.Create(ctx, trial, client.DryRunAll)).To(Succeed())
		return imageOf(trial)
	}).Should(Equal("mirror.example/a"))

	first := newProcess(f.namespace, 0, false)
	g.Expect(first.run(ctx, t)).To(Succeed())
	rewrite := func(p *process) (writes []string) {
		before := p.writes.total()
		for _, name := range []string{"alpha", "press"} {
			d := &appsv1.Deployment{}
			g.Expect(f.get(d, name)).To(Succeed())
			g.Expect(imageOf(d)).To(HavePrefix("mirror.example/"))
			// As the controller of Deployments does, which makes it another generation.
			d.Annotations["deployment.kubernetes.io/revision"] = d.ResourceVersion
			g.Expect(api.Update(ctx, d)).To(Succeed())
		}
		g.Expect(p.run(ctx, t)).To(Succeed())
		for _, write := range p.writes.since(before) {
			if strings.HasPrefix(write, "apply Deployment") {
				writes = append(writes, write)
			}
		}
		return writes
	}
	g.Expect(rewrite(first)).To(BeEmpty())
	restarted := newProcess(f.namespace, 0, false)
	g.Expect(rewrite(restarted)).To(ConsistOf("apply Deployment alpha", "apply Deployment press"), "it cannot know")
	g.Expect(rewrite(restarted)).To(BeEmpty())
	g.Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())
}
