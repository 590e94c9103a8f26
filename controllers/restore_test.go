package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// backup is what docs/backup.md has a person export of a namespace: the custom resources, and the Secrets of the operator.
type backup struct {
	resources, secrets []*unstructured.Unstructured
}

func export(f fixture) (b backup) {
	GinkgoHelper()
	read := func(kind string, list client.ObjectList, options ...client.ListOption) (exported []*unstructured.Unstructured) {
		must(api.List(f.ctx, list, append(options, client.InNamespace(f.namespace))...))
		items, err := meta.ExtractList(list)
		must(err)
		for _, item := range items {
			gvk, err := api.GroupVersionKindFor(item)
			must(err)
			o := &unstructured.Unstructured{}
			o.SetGroupVersionKind(gvk)
			must(api.Get(f.ctx, client.ObjectKeyFromObject(item.(client.Object)), o))
			exported = append(exported, o)
		}
		Expect(exported).NotTo(BeEmpty(), kind)
		return exported
	}
	b.resources = append(read("ClusterMaster", &v1alpha1.ClusterMasterList{}), read("Refinery", &v1alpha1.RefineryList{})...)
	b.secrets = read("Secret", &corev1.SecretList{}, client.MatchingLabels{resource.LabelManagedBy: resource.ManagedBy})
	return b
}

// restore makes the objects again, as kubectl create -f does.
func restore(f fixture, objects []*unstructured.Unstructured, edit ...func(*unstructured.Unstructured)) {
	GinkgoHelper()
	for _, exported := range objects {
		o := exported.DeepCopy()
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
		for _, e := range edit {
			e(o)
		}
		f.create(o)
	}
}

func withoutOwners(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) }

func paused(o *unstructured.Unstructured) {
	must(unstructured.SetNestedField(o.Object, true, "spec", "paused"))
}

// empty deletes everything in a namespace, as its deletion does.
func empty(f fixture) {
	GinkgoHelper()
	var objects []client.Object
	for _, owner := range []client.Object{&v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}} {
		name := map[bool]string{true: "alpha", false: "press"}[isMaster(owner)]
		must(f.get(owner, name))
		objects = append(append(objects, owned(f, owner)...), owner)
	}
	for i := len(objects) - 1; i >= 0; i-- { // owners first, so that nothing is made again
		Expect(client.IgnoreNotFound(api.Delete(f.ctx, objects[i]))).To(Succeed())
	}
	settled()
	for _, o := range objects {
		Expect(client.IgnoreNotFound(api.Delete(f.ctx, o))).To(Succeed())
	}
}

func isMaster(o client.Object) bool {
	_, ok := o.(*v1alpha1.ClusterMaster)
	return ok
}

var _ = Describe("A namespace that is restored from a backup", func() {
	DescribeTable("has the same certificates, and lets in the same nodes",
		func(ctx SpecContext, back func(fixture, backup)) {
			f, m, r := deployed(ctx)
			b, data := export(f), map[string]map[string][]byte{}
			uids := map[types.UID]bool{}
			for _, s := range b.secrets {
				secret := f.secret(s.GetName())
				data[secret.Name], uids[secret.UID] = secret.Data, true
			}
			must(f.get(r, "press"))
			listed := certificates.CurrentFingerprint(r.Status.Certificates)

			empty(f)
			back(f, b)
			must(f.get(m, "alpha"))
			must(f.get(r, "press"))
			Eventually(func() string {
				must(f.get(r, "press"))
				return certificates.CurrentFingerprint(r.Status.Certificates)
			}).Should(Equal(listed))
			for name := range data {
				Eventually(func() bool { return apply.Owns(m, f.secret(name)) || apply.Owns(r, f.secret(name)) }).Should(BeTrue(), name)
			}
			Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			settled()
			for name, before := range data {
				secret := f.secret(name)
				Expect(secret.Data).To(Equal(before), name)
				Expect(uids).NotTo(HaveKey(secret.UID), name)
			}
			must(f.get(r, "press"))
			Expect(r.Status.Certificates).To(HaveLen(1))
			Expect(r.Status.Certificates[0].Fingerprint).To(Equal(listed))
			Expect(r.Status.Revoked).To(BeEmpty())
			for _, o := range []client.Object{m, r} {
				Expect(f.events(o)()).NotTo(ContainElement(Or(ContainSubstring("SecretReplaced"), ContainSubstring("CertificateChanged"), ContainSubstring("Revoked"))))
			}
		},
		Entry("Secrets first", func(f fixture, b backup) {
			restore(f, b.secrets, withoutOwners)
			restore(f, b.resources)
		}),
		Entry("custom resources first, paused", func(f fixture, b backup) {
			restore(f, b.resources, paused)
			settled()
			restore(f, b.secrets, withoutOwners)
			for _, o := range []client.Object{&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: "alpha"}}, &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Name: "press"}}} {
				change(f, o, func(o client.Object) {
					switch o := o.(type) {
					case *v1alpha1.ClusterMaster:
						o.Spec.Paused = false
					case *v1alpha1.Refinery:
						o.Spec.Paused = false
					}
				})
			}
		}),
		Entry("with the owners that do not exist any more", func(f fixture, b backup) {
			restore(f, b.secrets)
			restore(f, b.resources)
		}),
	)
})
