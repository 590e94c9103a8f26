package controllers_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1ac "k8s.io/client-go/applyconfigurations/coordination/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

type watchInterface = watch.Interface

// fixture is a namespace and what a person does in it.
type fixture struct {
	ctx       context.Context
	namespace string
}

func newFixture(ctx context.Context) fixture {
	namespace, err := newNamespace(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) { // what is left would go on being looked at, and written, during other specs
		if spec := CurrentSpecReport(); spec.Failed() {
			left = append(left, fmt.Sprintf("%s\n%s: %s\n%s", spec.FullText(), spec.FailureLocation(), spec.FailureMessage(), describeAll(ctx, namespace)))
		}
		for _, kind := range []client.Object{&v1alpha1.Refinery{}, &v1alpha1.ClusterMaster{}} {
			Expect(api.DeleteAllOf(ctx, kind, client.InNamespace(namespace))).To(Succeed())
		}
	})
	return fixture{ctx, namespace}
}

// left says of each spec that failed why, and in what state it left its objects.
var left []string

// describeAll shows the conditions of all ClusterMasters and Refineries of a namespace, and which Deployments there are.
func describeAll(ctx context.Context, namespace string) string {
	masters, refineries, deployments := &v1alpha1.ClusterMasterList{}, &v1alpha1.RefineryList{}, &appsv1.DeploymentList{}
	for _, list := range []client.ObjectList{masters, refineries, deployments} {
		if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err.Error()
		}
	}
	var text strings.Builder
	describe := func(kind, name string, conditions []metav1.Condition) {
		fmt.Fprintf(&text, "%s %s\n", kind, name)
		for i := range conditions {
			fmt.Fprintf(&text, "  %s %s\n", conditions[i].Type, passtest.Text(&conditions[i]))
		}
	}
	for _, m := range masters.Items {
		describe("ClusterMaster", m.Name, m.Status.Conditions)
	}
	for _, r := range refineries.Items {
		describe("Refinery", r.Name, r.Status.Conditions)
	}
	for _, d := range deployments.Items {
		describe("Deployment", d.Name, nil)
	}
	return text.String()
}

// master and refinery parse a spec in YAML.
func (f fixture) master(name, spec string) *v1alpha1.ClusterMaster {
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	must(yaml.UnmarshalStrict([]byte(spec), &m.Spec))
	return m
}

func (f fixture) refinery(name, spec string) *v1alpha1.Refinery {
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	must(yaml.UnmarshalStrict([]byte(spec), &r.Spec))
	if r.Spec.MasterRef.Name == "" {
		r.Spec.MasterRef.Name = "alpha"
	}
	return r
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (f fixture) create(objects ...client.Object) {
	GinkgoHelper()
	for _, o := range objects {
		Expect(api.Create(f.ctx, o)).To(Succeed())
	}
}

// change edits an object the way kubectl edit does, until it wins.
func change[T client.Object](f fixture, object T, edit func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := f.get(object, object.GetName()); err != nil {
			return err
		}
		edit(object)
		return api.Update(f.ctx, object)
	}).Should(Succeed())
}

// changeStatus edits the status subresource.
func changeStatus[T client.Object](f fixture, object T, edit func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := f.get(object, object.GetName()); err != nil {
			return err
		}
		edit(object)
		return api.Status().Update(f.ctx, object)
	}).Should(Succeed())
}

// becomeActive does what an active master does to its ClusterMaster.
func (f fixture) becomeActive(m *v1alpha1.ClusterMaster) {
	GinkgoHelper()
	f.hold(m)
	f.deploy(m, 1)
	status := apiac.ClusterMaster(m.Name, m.Namespace).WithStatus(apiac.ClusterMasterStatus().
		WithActive(apiac.ActiveMaster().WithPod(m.Name + "-0").WithEpoch(1).WithSince(metav1.NewTime(time.Now()))))
	Expect(api.Status().Apply(f.ctx, status, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// hold renews the Lease of a master now, and makes it if there is none.
func (f fixture) hold(m *v1alpha1.ClusterMaster) {
	GinkgoHelper()
	f.holdAt(m, operatorClock.Now())
}

// holdAt does so by a clock that may be another than the operator's.
func (f fixture) holdAt(m *v1alpha1.ClusterMaster, now time.Time) {
	GinkgoHelper()
	l := coordinationv1ac.Lease(m.LeaseName(), m.Namespace).WithSpec(coordinationv1ac.LeaseSpec().
		WithHolderIdentity(m.Name + "-0").WithLeaseDurationSeconds(10).WithRenewTime(metav1.NewMicroTime(now)))
	Expect(api.Apply(f.ctx, l, client.FieldOwner("elector"), client.ForceOwnership)).To(Succeed())
}

// total does what an active master does that has one Refinery with two nodes.
func (f fixture) total(m *v1alpha1.ClusterMaster) {
	GinkgoHelper()
	must(f.get(m, m.Name))
	status := m.Status.DeepCopy()
	status.Refineries = &v1alpha1.RefineryTotals{Total: 1, Authenticated: 1, Summary: "1/1"}
	status.Nodes = &v1alpha1.NodeTotals{Wanted: 2, Authenticated: 2}
	Expect(api.Status().Apply(f.ctx, masterfields.OfClusterMaster(m.Namespace, m.Name, status),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// shown are the columns of a ClusterMaster, with its count of nodes, and of a Refinery.
func (f fixture) shown(m *v1alpha1.ClusterMaster, r *v1alpha1.Refinery) string {
	GinkgoHelper()
	must(f.get(m, m.Name))
	must(f.get(r, r.Name))
	refineries, nodes := ptr.Deref(m.Status.Refineries, v1alpha1.RefineryTotals{}), ptr.Deref(m.Status.Nodes, v1alpha1.NodeTotals{})
	return fmt.Sprintf("%s %s %d %s %s", m.ActivePod(), refineries.Summary, nodes.Authenticated, r.Status.Authenticated.Summary,
		meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAuthenticated).Reason)
}

// report does what an active master does to a Refinery.
func (f fixture) report(r *v1alpha1.Refinery, status metav1.ConditionStatus, reason string) {
	GinkgoHelper()
	condition := metav1ac.Condition().WithType(v1alpha1.ConditionAuthenticated).WithStatus(status).
		WithReason(reason).WithMessage("").WithLastTransitionTime(metav1.NewTime(time.Now()))
	Expect(api.Status().Apply(f.ctx, apiac.Refinery(r.Name, r.Namespace).WithStatus(apiac.RefineryStatus().
		WithReporter(apiac.Reporter().WithPod("alpha-0").WithEpoch(1)).WithConditions(condition)),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// deploy does what the controller of Deployments or StatefulSets does.
func (f fixture) deploy(owner client.Object, available int32) {
	GinkgoHelper()
	Eventually(func() error { return f.available(owner.GetName(), available) }).Should(Succeed())
}

// available has some pods of a Deployment or StatefulSet be current and available, and no others.
func (f fixture) available(name string, n int32) error {
	object, err := f.podSet(name)
	if err != nil {
		return err
	}
	switch o := object.(type) {
	case *appsv1.Deployment:
		o.Status.ObservedGeneration = o.Generation
		o.Status.Replicas, o.Status.ReadyReplicas, o.Status.AvailableReplicas, o.Status.UpdatedReplicas, o.Status.UnavailableReplicas = n, n, n, n, 0
	case *appsv1.StatefulSet:
		o.Status.ObservedGeneration = o.Generation
		o.Status.Replicas, o.Status.ReadyReplicas, o.Status.AvailableReplicas, o.Status.UpdatedReplicas = n, n, n, n
	}
	return api.Status().Update(f.ctx, object)
}

// podSet is the Deployment of a name, or the StatefulSet if there is none.
func (f fixture) podSet(name string) (client.Object, error) {
	d, s := &appsv1.Deployment{}, &appsv1.StatefulSet{}
	err := f.get(d, name)
	if apierrors.IsNotFound(err) {
		return s, f.get(s, name)
	}
	return d, err
}

// condition polls one condition as "status/reason".
func condition(f fixture, object client.Object, kind string) func() string {
	return func() string {
		c := conditionOf(f, object, kind)
		if c == nil {
			return ""
		}
		return fmt.Sprintf("%s/%s", c.Status, c.Reason)
	}
}

// message polls the message of one condition.
func message(f fixture, object client.Object, kind string) func() string {
	return func() string {
		if c := conditionOf(f, object, kind); c != nil {
			return c.Message
		}
		return ""
	}
}

func conditionOf(f fixture, object client.Object, kind string) *metav1.Condition {
	if err := f.get(object, object.GetName()); err != nil {
		return nil
	}
	switch o := object.(type) {
	case *v1alpha1.ClusterMaster:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	case *v1alpha1.Refinery:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	}
	return nil
}

// events polls the events about an object as "type/reason: note".
func (f fixture) events(object client.Object) func() []string {
	return func() []string {
		list := &eventsv1.EventList{}
		if err := api.List(f.ctx, list, client.InNamespace(f.namespace)); err != nil {
			return nil
		}
		var events []string
		for _, e := range list.Items {
			if e.Regarding.UID == object.GetUID() {
				events = append(events, fmt.Sprintf("%s/%s: %s", e.Type, e.Reason, e.Note))
			}
		}
		return events
	}
}

// get zeroes the object first: what the API server leaves out would stay in it.
func (f fixture) get(object client.Object, name string) error {
	value := reflect.ValueOf(object).Elem()
	value.Set(reflect.Zero(value.Type()))
	object.SetNamespace(f.namespace)
	object.SetName(name)
	return api.Get(f.ctx, client.ObjectKey{Namespace: f.namespace, Name: name}, object)
}

func (f fixture) secret(name string) *corev1.Secret {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Eventually(func() error { return f.get(secret, name) }).Should(Succeed())
	return secret
}

// tlsSecret is a Secret as a user makes it.
func (f fixture) tlsSecret(name string, pair pki.PEMPair) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Data:       map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key},
	}
}

// authority is the one that the operator made for a master.
func (f fixture) authority(name string) *pki.Authority {
	GinkgoHelper()
	secret := f.secret(name + "-ca")
	authority, err := pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], operatorClock.Now())
	Expect(err).NotTo(HaveOccurred())
	return authority
}

func otherAuthorityPair() pki.PEMPair {
	GinkgoHelper()
	pair, err := pki.NewAuthority("other", v1alpha1.DefaultCADuration, operatorClock.Now())
	Expect(err).NotTo(HaveOccurred())
	return pair
}

func otherAuthority() *pki.Authority {
	GinkgoHelper()
	pair := otherAuthorityPair()
	authority, err := pki.ParseAuthority(pair.Certificate, pair.Key, operatorClock.Now())
	Expect(err).NotTo(HaveOccurred())
	return authority
}

func client0(authority *pki.Authority, r *v1alpha1.Refinery) pki.PEMPair {
	GinkgoHelper()
	pair, err := authority.IssueClient(r.Name, r.Identity(), operatorClock.Now())
	Expect(err).NotTo(HaveOccurred())
	return pair
}

// settled waits until the operator has written nothing for a while, and is at no object: a pass may take long between two
// writes, as it makes keys.
func settled() {
	GinkgoHelper()
	var before int
	Eventually(func() error {
		now, busy := operatorWrites.total(), objectsAtWork()
		if now != before || busy > 0 {
			before = now
			return fmt.Errorf("still at %d objects, after %d writes", busy, now)
		}
		return nil
	}).WithPolling(300 * time.Millisecond).Should(Succeed())
}

// objectsAtWork is how many objects the controllers of this process are at or will be next; those that wait for a time do not count.
func objectsAtWork() (n int) {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if name := family.GetName(); name == "controller_runtime_active_workers" || name == "workqueue_depth" {
			for _, metric := range family.GetMetric() {
				n += int(metric.GetGauge().GetValue())
			}
		}
	}
	return n
}
