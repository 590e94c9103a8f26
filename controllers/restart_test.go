package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/clustermaster"
	"github.com/refinery-operator/refinery-operator/controllers/refinery"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// errCrash stands for the end of the process at a write.
var errCrash = errors.New("the operator crashed")

// process is one run of the operator: its reconcilers remember what they wrote, and nothing survives it.
type process struct {
	environment *controllers.Environment
	writes      *writeCounter
	metrics     *controllers.Metrics
	reconciles  []func(context.Context) error
}

// newProcess crashes at the write with the given number, or never, if it is 0.
func newProcess(namespace string, crashAt int, answerLost bool) *process {
	return newProcessAt(namespace, crashAt, answerLost, clocktesting.NewFakePassiveClock(time.Now()), "press")
}

// newProcessAt is newProcess for some Refineries and a clock of the caller's.
func newProcessAt(namespace string, crashAt int, answerLost bool, clk clock.PassiveClock, refineries ...string) *process {
	p := &process{writes: &writeCounter{answerLost: answerLost}, metrics: controllers.NewMetrics()}
	p.writes.fail = func() error {
		if crashAt > 0 && p.writes.total() >= crashAt { // nothing is written after the end
			return errCrash
		}
		return nil
	}
	read := &snapshot{Client: p.writes.count(api), writes: p.writes}
	e := &controllers.Environment{
		Client: read, Live: api,
		Events: events.NewFakeRecorder(1000), Clock: clk, Metrics: p.metrics,
		Images: images, Recheck: time.Second,
	}
	p.environment = e
	master, refinery := clustermaster.New(e), refinery.New(e)
	add := func(r reconcile.Reconciler, name string) {
		p.reconciles = append(p.reconciles, func(ctx context.Context) error {
			read.begin()
			_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: name}})
			return err
		})
	}
	for _, name := range refineries {
		add(refinery, name)
	}
	add(master, "alpha")
	return p
}

// run reconciles until a round writes nothing, or the process crashes.
func (p *process) run(ctx context.Context, t *testing.T) error {
	t.Helper()
	for range 20 {
		before := p.writes.total()
		for _, reconcile := range p.reconciles {
			if err := reconcile(ctx); err != nil {
				return err
			}
		}
		if p.writes.total() == before {
			return nil
		}
	}
	t.Fatalf("still writing after 20 rounds: %v", p.writes.since(0))
	return nil
}

// endState is what has to be the same however the operator came to it.
func endState(ctx context.Context, t *testing.T, namespace string) []string {
	t.Helper()
	var state []string
	for _, object := range []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}, &corev1.Service{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}, &appsv1.Deployment{}} {
		state = append(state, names(ctx, t, namespace, object)...)
	}
	m, r := &v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}
	if err := errors.Join(
		api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "alpha"}, m),
		api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "press"}, r)); err != nil {
		t.Fatal(err)
	}
	for _, c := range slices.Concat(m.Status.Conditions, r.Status.Conditions) {
		state = append(state, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	for _, c := range r.Status.Certificates {
		state = append(state, string(c.Use))
	}
	state = append(state, fmt.Sprint(m.Status.ObservedGeneration, r.Status.ObservedGeneration))
	slices.Sort(state)
	return state
}

// names are those of the objects of one kind, and whether someone controls them.
func names(ctx context.Context, t *testing.T, namespace string, object client.Object) (names []string) {
	t.Helper()
	kind, err := api.GroupVersionKindFor(object)
	if err != nil {
		t.Fatal(err)
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		names = append(names, fmt.Sprintf("%s %s %v", kind.Kind, list.Items[i].Name, metav1.GetControllerOf(&list.Items[i]) != nil))
	}
	return names
}

// workload has what the API server likes to rewrite: quantities, defaults, references.
const workload = `
spec:
  initContainers:
  - {name: prepare, image: example.com/prepare:1, command: [prepare]}
  containers:
  - name: app
    image: example.com/app:1
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: app, key: token}}}
    ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP, name: dns}]
    readinessProbe: {httpGet: {path: /, port: 8080}}
    resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {cpu: "2", memory: 1024Mi}}
    volumeMounts: [{name: settings, mountPath: /settings}, {name: scratch, mountPath: /scratch}]
  tolerations: [{key: edge, operator: Exists, effect: NoSchedule}]
  affinity:
    nodeAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - {weight: 1, preference: {matchExpressions: [{key: disk, operator: In, values: [fast]}]}}
  volumes:
  - {name: settings, configMap: {name: app}}
  - {name: scratch, emptyDir: {sizeLimit: 1024Ki}}
`

// prepare makes the CRs, and what is special about the case.
func prepare(ctx context.Context, t *testing.T) string {
	t.Helper()
	namespace, err := newNamespace(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{ctx, namespace}
	m, r := f.master("alpha", `{template: {resources: {requests: {cpu: 1000m}}}}`), f.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
	raw, err := yaml.YAMLToJSON([]byte(workload))
	if err != nil {
		t.Fatal(err)
	}
	r.Spec.Template = &runtime.RawExtension{Raw: raw}
	if err := errors.Join(api.Create(ctx, m), api.Create(ctx, r)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(api.Delete(ctx, m), api.Delete(ctx, r)) })
	return namespace
}

func TestOperatorStoppedAtAnyWriteReachesTheSameEndState(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	reference := prepare(ctx, t)
	undisturbed := newProcess(reference, 0, false)
	if err := undisturbed.run(ctx, t); err != nil {
		t.Fatal(err)
	}
	want := endState(ctx, t, reference)
	writes := undisturbed.writes.since(0)
	t.Logf("%d writes: %q", len(writes), writes)

	for n, write := range writes {
		t.Run(fmt.Sprintf("%d %s not done", n+1, write), func(t *testing.T) { stopAndStart(ctx, t, n+1, false, want) })
		t.Run(fmt.Sprintf("%d %s done, answer lost", n+1, write), func(t *testing.T) { stopAndStart(ctx, t, n+1, true, want) })
	}
}

func stopAndStart(ctx context.Context, t *testing.T, crashAt int, answerLost bool, want []string) {
	namespace := prepare(ctx, t)
	if err := newProcess(namespace, crashAt, answerLost).run(ctx, t); !errors.Is(err, errCrash) {
		t.Fatalf("got %v, want the crash", err)
	}
	if err := newProcess(namespace, 0, false).run(ctx, t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, endState(ctx, t, namespace)); diff != "" {
		t.Errorf("end state (-undisturbed +restarted):\n%s", diff)
	}
	// A third process finds everything as it has to be.
	third := newProcess(namespace, 0, false)
	if err := third.run(ctx, t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), third.writes.since(0)); diff != "" {
		t.Errorf("writes of an operator that starts at rest:\n%s", diff)
	}
}

func TestNoNodeStartsBeforeStatusListsItsCertificate(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	undisturbed := newProcess(prepare(ctx, t), 0, false)
	if err := undisturbed.run(ctx, t); err != nil {
		t.Fatal(err)
	}
	before := slices.Index(undisturbed.writes.since(0), "apply Deployment press") + 1
	namespace := prepare(ctx, t)
	if err := newProcess(namespace, before, false).run(ctx, t); !errors.Is(err, errCrash) {
		t.Fatalf("got %v, want the crash at write %d", err, before)
	}
	r, secret := &v1alpha1.Refinery{}, &corev1.Secret{}
	if err := errors.Join(
		api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "press"}, r),
		api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "press-tls"}, secret)); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.Fingerprint(leafOf(pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey]}))
	if len(r.Status.Certificates) != 1 || r.Status.Certificates[0].Fingerprint != want {
		t.Errorf("status lists %v when the Deployment is written, want %s", r.Status.Certificates, want)
	}
}

func TestDeletedSecretStaysRevokedWhereverTheOperatorStops(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	for crashAt := 1; ; crashAt++ {
		namespace := prepare(ctx, t)
		if err := newProcess(namespace, 0, false).run(ctx, t); err != nil {
			t.Fatal(err)
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "press-tls"}}
		if err := api.Delete(ctx, secret); err != nil {
			t.Fatal(err)
		}
		crash := newProcess(namespace, crashAt, false).run(ctx, t)
		if err := newProcess(namespace, 0, false).run(ctx, t); err != nil {
			t.Fatal(err)
		}
		r := &v1alpha1.Refinery{}
		if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "press"}, r); err != nil {
			t.Fatal(err)
		}
		if c := r.Status.Certificates; len(c) != 1 || c[0].Use != v1alpha1.CertificateCurrent {
			t.Errorf("stopped at write %d: %+v are let in, want the new one only", crashAt, c)
		}
		if crash == nil { // it needed fewer writes
			return
		}
	}
}
