package controllers_test

import (
	"fmt"
	"maps"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// fingerprintOf is that of a certificate in PEM.
func fingerprintOf(pem []byte) string {
	GinkgoHelper()
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, pem)
	Expect(err).NotTo(HaveOccurred())
	return v1alpha1.Fingerprint(chain[0])
}

// owned are all objects of an owner, also those that outlive it.
func owned(f fixture, owner client.Object) (objects []client.Object) {
	GinkgoHelper()
	for _, list := range []client.ObjectList{&corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceAccountList{}, &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{},
		&policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &coordinationv1.LeaseList{}} {
		must(api.List(f.ctx, list, client.InNamespace(f.namespace)))
		items, err := meta.ExtractList(list)
		must(err)
		for _, item := range items {
			if o := item.(client.Object); apply.Owns(owner, o) {
				objects = append(objects, o)
			}
		}
	}
	return objects
}

// orphan is what kubectl delete --cascade=orphan and kubectl apply make of an owner: another object of its name, and what the former
// one owned without an owner. Edits are of the owner before it is made again.
func orphan(f fixture, owner client.Object, edits ...func()) {
	GinkgoHelper()
	objects := owned(f, owner)
	Expect(api.Delete(f.ctx, owner)).To(Succeed())
	for _, o := range objects {
		change(f, o, func(o client.Object) { o.SetOwnerReferences(nil) })
	}
	for _, edit := range edits {
		edit()
	}
	again(f, owner)
}

// again makes another object of the name and the spec of one that is gone.
func again(f fixture, owner client.Object) {
	GinkgoHelper()
	owner.SetUID("")
	owner.SetResourceVersion("")
	f.create(owner)
}

// deployed is a ClusterMaster and a Refinery with all that they own.
func deployed(ctx SpecContext) (fixture, *v1alpha1.ClusterMaster, *v1alpha1.Refinery) {
	GinkgoHelper()
	f := newFixture(ctx)
	m, r := f.master("alpha", `{}`), f.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
	f.create(m, r)
	Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
	Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
	settled()
	return f, m, r
}

func ownedBy(f fixture, object client.Object, name string, owner client.Object) func() bool {
	return func() bool { return f.get(object, name) == nil && apply.Owns(owner, object) }
}

var _ = Describe("What has lost its owner", func() {
	It("is adopted as it is where it is as it has to be, and pods run on", func(ctx SpecContext) {
		f, m, r := deployed(ctx)
		secret, deployment, service, account := f.secret("press-tls"), &appsv1.Deployment{}, &corev1.Service{}, &corev1.ServiceAccount{}
		must(f.get(deployment, "press"))
		must(f.get(service, "press"))
		must(f.get(account, "press-refinery"))
		before, spec, data := deployment.DeepCopy(), service.Spec.DeepCopy(), secret.Data
		must(f.get(r, "press"))
		listed := r.Status.Certificates[0].Fingerprint

		orphan(f, r)
		for name, o := range map[string]client.Object{"press-tls": secret, "press": deployment, "press-refinery": account} {
			Eventually(ownedBy(f, o, name, r)).Should(BeTrue(), name)
		}
		Eventually(ownedBy(f, service, "press", r)).Should(BeTrue())
		Expect(deployment.UID).To(Equal(before.UID))
		Expect(deployment.Spec).To(Equal(before.Spec))
		Expect(service.Spec).To(Equal(*spec))
		Expect(f.secret("press-tls").Data).To(Equal(data))
		Eventually(func() string { must(f.get(r, "press")); return certificates.CurrentFingerprint(r.Status.Certificates) }).Should(Equal(listed))
		Expect(r.Status.Revoked).To(BeEmpty())
		Expect(f.events(r)()).NotTo(ContainElement(ContainSubstring("SecretReplaced")))

		authority := f.secret("alpha-ca")
		data = authority.Data
		orphan(f, m)
		Eventually(ownedBy(f, authority, "alpha-ca", m)).Should(BeTrue())
		Expect(authority.Data).To(Equal(data))
		settled()
		wrote := operatorWrites.total()
		Consistently(func() []string { return operatorWrites.since(wrote) }).Should(BeEmpty())
	})

	It("is left to the garbage collector where its owner was deleted with all it owned", func(ctx SpecContext) {
		f, _, r := deployed(ctx)
		secret := f.secret("press-tls")
		Expect(api.Delete(f.ctx, r)).To(Succeed())
		again(f, r)
		Eventually(message(f, r, v1alpha1.ConditionStalled)).Should(ContainSubstring("press is needed and belongs to Refinery press"))
		Consistently(ownedBy(f, secret, "press-tls", r)).Should(BeFalse())
	})
})

// planted is a Secret with all the labels of an owner, as anybody can make it.
func planted(f fixture, owner metav1.Object, name string, data map[string][]byte) *corev1.Secret {
	GinkgoHelper()
	labels, err := resource.Labels(owner)
	must(err)
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name, Labels: labels}, Type: corev1.SecretTypeTLS, Data: data}
}

func tlsData(pair pki.PEMPair, bundle []byte) map[string][]byte {
	data := map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}
	if bundle != nil {
		data[v1alpha1.AuthorityKey] = bundle
	}
	return data
}

var _ = Describe("A Secret with the operator's labels that the operator did not write", func() {
	It("is no authority until a person names it", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, pair := f.master("alpha", `{}`), otherAuthorityPair()
		secret := planted(f, m, "alpha-ca", tlsData(pair, nil))
		f.create(secret, m)
		fingerprint := fingerprintOf(pair.Certificate)
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/AuthorityUnproven"))
		Expect(message(f, m, v1alpha1.ConditionStalled)()).To(ContainSubstring(fmt.Sprintf(
			"kubectl annotate clustermaster alpha -n %s --overwrite cluster.refinery.dev/adopt=%s", f.namespace, fingerprint)))
		Consistently(gone(f, &corev1.Secret{}, "alpha-tls")).Should(BeTrue())
		Expect(f.secret("alpha-ca").ResourceVersion).To(Equal(secret.ResourceVersion))

		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Annotations = map[string]string{v1alpha1.AdoptAnnotation: "0000, " + strings.ToUpper(fingerprint)}
		})
		Eventually(ownedBy(f, secret, "alpha-ca", m)).Should(BeTrue())
		Expect(secret.Data).To(Equal(tlsData(pair, nil)))
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
	})

	It("is no authority when it is deleted, and another is made", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, pair := f.master("alpha", `{}`), otherAuthorityPair()
		secret := planted(f, m, "alpha-ca", tlsData(pair, nil))
		f.create(secret, m)
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/AuthorityUnproven"))
		Expect(api.Delete(f.ctx, secret)).To(Succeed())
		Eventually(ownedBy(f, secret, "alpha-ca", m)).Should(BeTrue())
		Expect(secret.Data[corev1.TLSCertKey]).NotTo(Equal(pair.Certificate))
	})

	DescribeTable("holds nothing afterwards of what it held, which is told",
		func(ctx SpecContext, name string, change func(*corev1.Secret)) {
			f, other := newFixture(ctx), otherAuthorityPair()
			m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
			foreign, err := pki.ParseAuthority(other.Certificate, other.Key, operatorClock.Now())
			must(err)
			var owner client.Object = m
			if name == "press-tls" {
				owner = r
			}
			secret := planted(f, owner, name, tlsData(client0(foreign, r), other.Certificate))
			secret.Data["extra"] = []byte("left")
			keep := "cluster.refinery.dev/adopt=" + fingerprintOf(secret.Data[corev1.TLSCertKey])
			if change(secret); secret.Type != corev1.SecretTypeTLS {
				keep = "create it again with type kubernetes.io/tls"
			}
			f.create(secret, m, r)
			Eventually(ownedBy(f, secret, name, owner)).Should(BeTrue())
			Expect(secret.Data).NotTo(Or(BeEmpty(), HaveKey("extra")))
			for key, value := range secret.Data {
				Expect(value).NotTo(Or(Equal(other.Certificate), ContainSubstring(string(other.Certificate))), key)
			}
			Eventually(f.events(owner)).Should(ContainElement(And(HavePrefix("Warning/SecretReplaced: Secret "+name), ContainSubstring(keep))))
			settled()
			Expect(f.secret("alpha-tls").Data[v1alpha1.AuthorityKey]).To(Equal(f.secret("alpha-ca").Data[corev1.TLSCertKey]))
		},
		Entry("what the master serves", "alpha-tls", func(*corev1.Secret) {}),
		Entry("what the master serves, as if of a provided authority", "alpha-tls",
			func(s *corev1.Secret) { s.Annotations = map[string]string{"cluster.refinery.dev/authority": "x"} }),
		Entry("what the master serves, as if from cert-manager", "alpha-tls", func(s *corev1.Secret) {
			s.Annotations = map[string]string{"cluster.refinery.dev/authority": "x", "cert-manager.io/certificate-name": "alpha-tls"}
		}),
		Entry("the nodes' certificate", "press-tls", func(*corev1.Secret) {}),
		Entry("one of another type, which cannot be changed", "press-tls", func(s *corev1.Secret) { s.Type = "example.com/other" }),
		Entry("the masters' key pair", "alpha-peer", func(*corev1.Secret) {}),
	)

	It("does not get what another Secret's mark proves", func(ctx SpecContext) {
		f, _, _ := deployed(ctx)
		marked := f.secret("alpha-ca")
		g := newFixture(ctx)
		for i, change := range []func(*corev1.Secret){
			func(*corev1.Secret) {}, // of another namespace
			func(s *corev1.Secret) { s.Data = tlsData(otherAuthorityPair(), nil) },
		} {
			m := g.master(fmt.Sprintf("alpha%d", i), `{}`)
			secret := planted(g, m, m.Name+"-ca", maps.Clone(marked.Data))
			secret.Annotations = marked.Annotations
			change(secret)
			g.create(secret, m)
			Eventually(condition(g, m, v1alpha1.ConditionStalled)).Should(Equal("True/AuthorityUnproven"))
		}
	})
})

var _ = Describe("An object with the operator's labels that the operator did not make", func() {
	It("comes out as the operator makes it, and no key is made before", func(ctx SpecContext) {
		f, _, _ := deployed(ctx)
		deployment, service, account := &appsv1.Deployment{}, &corev1.Service{}, &corev1.ServiceAccount{}
		masters, bundle, role, binding := &corev1.Service{}, &corev1.ConfigMap{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}
		must(f.get(deployment, "press"))
		must(f.get(service, "press"))
		must(f.get(account, "alpha-master"))
		must(f.get(masters, "alpha"))
		must(f.get(bundle, "alpha-trust"))
		must(f.get(role, "alpha-master"))
		must(f.get(binding, "alpha-master"))
		wantService, wantMasters, wantRules, wantTemplate := service.Spec.DeepCopy(), masters.Spec.DeepCopy(), role.DeepCopy().Rules, deployment.Spec.Template.DeepCopy()

		g := newFixture(ctx)
		for _, o := range []client.Object{deployment, service, account, masters, bundle, role, binding} {
			o.SetNamespace(g.namespace)
			o.SetUID("")
			o.SetResourceVersion("")
			o.SetOwnerReferences(nil)
			o.SetManagedFields(nil)
			o.SetAnnotations(map[string]string{"foreign": "x"})
			o.GetLabels()["foreign"] = "x"
		}
		deployment.Spec.Template.Spec.Containers = append(deployment.Spec.Template.Spec.Containers, corev1.Container{Name: "thief", Image: "thief"})
		service.Spec.Selector["extra"], service.Spec.ClusterIP, service.Spec.ClusterIPs = "x", "", nil
		masters.Spec.Selector, masters.Spec.ClusterIP, masters.Spec.ClusterIPs = map[string]string{"app": "thief"}, "", nil
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "thief"}}
		bundle.Immutable = ptr.To(true)
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
		binding.Subjects[0].Namespace = g.namespace
		binding.RoleRef.Name = "thief"
		g.create(deployment, service, account, masters, bundle, role, binding)
		m, r := g.master("alpha", `{}`), g.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
		g.create(m, r)

		Eventually(func() bool { return g.get(deployment, "press") == nil && !deployment.DeletionTimestamp.IsZero() }).Should(BeTrue())
		Eventually(condition(g, r, v1alpha1.ConditionReady)).Should(Equal("False/Progressing"))
		Consistently(gone(g, &corev1.Secret{}, "press-tls")).Should(BeTrue())
		podsGone(g, "press")
		Eventually(ownedBy(g, deployment, "press", r)).Should(BeTrue())
		Expect(deployment.Spec.Template.Spec.Containers).To(HaveLen(len(wantTemplate.Spec.Containers)))

		Eventually(ownedBy(g, service, "press", r)).Should(BeTrue())
		Expect(service.Spec.Selector).To(Equal(wantService.Selector))
		Eventually(ownedBy(g, masters, "alpha", m)).Should(BeTrue())
		Expect(masters.Spec.Selector).To(Equal(wantMasters.Selector))
		Eventually(ownedBy(g, account, "alpha-master", m)).Should(BeTrue())
		Expect(account.ImagePullSecrets).To(BeEmpty())
		Eventually(ownedBy(g, bundle, "alpha-trust", m)).Should(BeTrue())
		Expect(bundle.Immutable).To(BeNil())
		Eventually(ownedBy(g, role, "alpha-master", m)).Should(BeTrue())
		Expect(role.Rules).To(Equal(wantRules))
		Eventually(ownedBy(g, binding, "alpha-master", m)).Should(BeTrue())
		Expect(binding.RoleRef.Name).To(Equal("alpha-master"))
		for _, o := range []client.Object{service, account, masters, bundle, role, binding} {
			Expect(o.GetAnnotations()).NotTo(HaveKey("foreign"))
			Expect(o.GetLabels()).NotTo(HaveKey("foreign"))
		}
	})
})
