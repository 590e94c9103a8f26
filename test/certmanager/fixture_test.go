package certmanager

import (
	"context"
	"crypto/x509"
	"fmt"
	"reflect"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// plant is a namespace with ClusterMaster alpha and Refinery press.
type plant struct {
	ctx       context.Context
	namespace string
	master    *v1alpha1.ClusterMaster
	refinery  *v1alpha1.Refinery
}

// newPlant makes both. certificates is spec.certificates of the ClusterMaster in YAML.
func newPlant(ctx context.Context, certificates string) *plant {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	Expect(api.Create(ctx, namespace)).To(Succeed())
	p := &plant{ctx: ctx, namespace: namespace.Name, master: &v1alpha1.ClusterMaster{}, refinery: &v1alpha1.Refinery{}}
	p.master.Namespace, p.master.Name = namespace.Name, "alpha"
	p.refinery.Namespace, p.refinery.Name = namespace.Name, "press"
	p.master.Spec.Certificates = parse(certificates)
	p.refinery.Spec.MasterRef.Name = "alpha"
	DeferCleanup(func(ctx SpecContext) { // what is left would go on being looked at during other specs
		Expect(api.DeleteAllOf(ctx, &v1alpha1.Refinery{}, client.InNamespace(namespace.Name))).To(Succeed())
		Expect(api.DeleteAllOf(ctx, &v1alpha1.ClusterMaster{}, client.InNamespace(namespace.Name))).To(Succeed())
	})
	return p
}

func parse(certificates string) *v1alpha1.CertificatesSpec {
	GinkgoHelper()
	spec := &v1alpha1.CertificatesSpec{}
	Expect(yaml.UnmarshalStrict([]byte(certificates), spec)).To(Succeed())
	return spec
}

func (p *plant) create(objects ...client.Object) *plant {
	GinkgoHelper()
	for _, o := range objects {
		o.SetNamespace(p.namespace)
		Expect(api.Create(p.ctx, o)).To(Succeed())
	}
	return p
}

// start creates master and refinery.
func (p *plant) start() *plant {
	GinkgoHelper()
	return p.create(p.master, p.refinery)
}

// issuer makes an issuer of kind CA over a Secret.
func (p *plant) issuer(name, secret string) *plant {
	GinkgoHelper()
	return p.create(certManagerObject("Issuer", name, map[string]any{"ca": map[string]any{"secretName": secret}}))
}

// ca makes the Secret of a new authority.
func (p *plant) ca(name string) *plant {
	GinkgoHelper()
	return p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: authorityData(name)})
}

func authorityData(name string) map[string][]byte {
	GinkgoHelper()
	pair, err := pki.NewAuthority(name, v1alpha1.DefaultCADuration, time.Now())
	Expect(err).NotTo(HaveOccurred())
	return map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}
}

func certManagerObject(kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(resource.CertificateKind.GroupVersion().WithKind(kind))
	o.SetName(name)
	return o
}

// get zeroes the object first: what the API server leaves out would stay in it.
func (p *plant) get(object client.Object, name string) error {
	if u, ok := object.(*unstructured.Unstructured); ok {
		kind := u.GroupVersionKind()
		u.Object = nil
		u.SetGroupVersionKind(kind)
	} else {
		value := reflect.ValueOf(object).Elem()
		value.Set(reflect.Zero(value.Type()))
	}
	return api.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: name}, object)
}

func (p *plant) gone(object client.Object, name string) func() bool {
	return func() bool { return apierrors.IsNotFound(p.get(object, name)) }
}

// change edits an object the way kubectl edit does, until it wins.
func change[T client.Object](p *plant, object T, edit func(T)) {
	GinkgoHelper()
	name := object.GetName()
	Eventually(func() error {
		if err := p.get(object, name); err != nil {
			return err
		}
		edit(object)
		return api.Update(p.ctx, object)
	}).Should(Succeed())
}

func (p *plant) certificate(name string) *unstructured.Unstructured {
	GinkgoHelper()
	c := certManagerObject("Certificate", name, nil)
	Eventually(func() error { return p.get(c, name) }).Should(Succeed())
	return c
}

// renew does what `cmctl renew` does.
func (p *plant) renew(name string) {
	GinkgoHelper()
	Eventually(func() error {
		c := p.certificate(name)
		conditions, _, _ := unstructured.NestedSlice(c.Object, "status", "conditions")
		conditions = append(conditions, map[string]any{"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
			"message": "on request", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)})
		must(unstructured.SetNestedSlice(c.Object, conditions, "status", "conditions"))
		return api.Status().Update(p.ctx, c)
	}).Should(Succeed())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (p *plant) secret(name string) *corev1.Secret {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Eventually(func() error { return p.get(secret, name) }).Should(Succeed())
	return secret
}

func leafOf(secret *corev1.Secret) *x509.Certificate {
	GinkgoHelper()
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, secret.Data[corev1.TLSCertKey])
	Expect(err).NotTo(HaveOccurred())
	return chain[0]
}

// ready polls condition CertificateReady as "status/reason".
func (p *plant) ready(object client.Object) func() string {
	return func() string {
		if c := p.condition(object); c != nil {
			return fmt.Sprintf("%s/%s", c.Status, c.Reason)
		}
		return ""
	}
}

// words polls the message of condition CertificateReady.
func (p *plant) words(object client.Object) func() string {
	return func() string {
		if c := p.condition(object); c != nil {
			return c.Message
		}
		return ""
	}
}

func (p *plant) condition(object client.Object) *metav1.Condition {
	if err := p.get(object, object.GetName()); err != nil {
		return nil
	}
	if m, ok := object.(*v1alpha1.ClusterMaster); ok {
		return meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionCertificateReady)
	}
	return meta.FindStatusCondition(object.(*v1alpha1.Refinery).Status.Conditions, v1alpha1.ConditionCertificateReady)
}

// listed polls status.certificates of the Refinery as "use fingerprint".
func (p *plant) listed() []string {
	must(p.get(p.refinery, "press"))
	var listed []string
	for _, c := range p.refinery.Status.Certificates {
		listed = append(listed, fmt.Sprintf("%s %s", c.Use, c.Fingerprint))
	}
	return listed
}

// issued waits until both have what the issuer issued, and returns the leaf of the nodes.
func (p *plant) issued() *x509.Certificate {
	GinkgoHelper()
	Eventually(p.ready(p.master)).Should(Equal("True/Issued"), func() string { return p.words(p.master)() })
	Eventually(p.ready(p.refinery)).Should(Equal("True/Issued"), func() string { return p.words(p.refinery)() })
	return leafOf(p.secret("press-tls"))
}

// events are those about an object, as "type/reason: note".
func (p *plant) events(object client.Object) []string {
	list := &eventsv1.EventList{}
	must(api.List(p.ctx, list, client.InNamespace(p.namespace)))
	var events []string
	for _, e := range list.Items {
		if e.Regarding.UID == object.GetUID() {
			events = append(events, fmt.Sprintf("%s/%s: %s", e.Type, e.Reason, e.Note))
		}
	}
	return events
}
