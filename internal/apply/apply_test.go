package apply

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// bench is an API server that counts what is applied, and an owner.
type bench struct {
	client  client.Client
	clock   *clocktesting.FakePassiveClock
	owner   *corev1.ConfigMap
	applied int
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	t.Helper()
	b := &bench{clock: clocktesting.NewFakePassiveClock(time.Now()), owner: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha", UID: "uid-of-alpha"}}}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithInterceptorFuncs(interceptor.Funcs{Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			b.applied++
			return c.Apply(ctx, o, options...)
		}}).Build()
	return b
}

// start is an operator that has just started and remembers nothing.
func (b *bench) start() *Applier { return New(b.client, b.client, b.clock) }

// service is what the operator wants.
func (b *bench) service(change ...func(*corev1ac.ServiceApplyConfiguration)) *corev1ac.ServiceApplyConfiguration {
	s := corev1ac.Service("alpha", "plant").WithAnnotations(map[string]string{"a": "1"}).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").WithName("alpha").
			WithUID(b.owner.UID).WithController(true)).
		WithSpec(corev1ac.ServiceSpec().WithPorts(corev1ac.ServicePort().WithPort(1).WithProtocol(corev1.ProtocolTCP)))
	for _, c := range change {
		c(s)
	}
	return s
}

func (b *bench) get(t *testing.T) *corev1.Service {
	t.Helper()
	s := &corev1.Service{}
	if err := b.client.Get(context.Background(), client.ObjectKey{Namespace: "plant", Name: "alpha"}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// difference is what comes between two applications: someone changes the object, and then the operator wants what changed
// makes of it.
type difference struct {
	someone func(*corev1.Service)
	changed func(*corev1ac.ServiceApplyConfiguration)
	writes  bool
	check   func(*corev1.Service) bool
}

func (d difference) test(t *testing.T, restarted bool) {
	ctx := t.Context()
	b := newBench(t)
	a := b.start()
	if err := a.Apply(ctx, b.owner, b.service()); err != nil || b.applied != 1 {
		t.Fatalf("%d requests, %v", b.applied, err)
	}
	if d.someone != nil {
		s := b.get(t)
		d.someone(s)
		if err := b.client.Update(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if restarted {
		a = b.start()
	}
	var changes []func(*corev1ac.ServiceApplyConfiguration)
	if d.changed != nil {
		changes = append(changes, d.changed)
	}
	for pass, writes := range []bool{d.writes, false} {
		before := b.applied
		if err := a.Apply(ctx, b.owner, b.service(changes...)); err != nil {
			t.Fatal(err)
		}
		if wrote := b.applied != before; wrote != writes {
			t.Errorf("pass %d: wrote %v (%d requests), want %v", pass, wrote, b.applied-before, writes)
		}
	}
	if d.check != nil && !d.check(b.get(t)) {
		t.Errorf("got %+v", b.get(t))
	}
}

func TestApplyWritesOnlyWhatDiffers(t *testing.T) {
	for name, test := range map[string]difference{
		"nothing": {writes: false},
		"fields of others": {
			someone: func(s *corev1.Service) { s.Annotations["theirs"], s.Spec.SessionAffinity = "x", "ClientIP" },
			check:   func(s *corev1.Service) bool { return s.Annotations["theirs"] == "x" },
		},
		"a field that someone changed": {
			someone: func(s *corev1.Service) { s.Annotations["a"] = "2" }, writes: true,
			check: func(s *corev1.Service) bool { return s.Annotations["a"] == "1" },
		},
		"a field that someone took away": {
			someone: func(s *corev1.Service) { delete(s.Annotations, "a") }, writes: true,
			check: func(s *corev1.Service) bool { return s.Annotations["a"] == "1" },
		},
		"an item added to a list by key": {
			changed: func(s *corev1ac.ServiceApplyConfiguration) {
				s.Spec.WithPorts(corev1ac.ServicePort().WithName("b").WithPort(2).WithProtocol(corev1.ProtocolTCP))
			}, writes: true,
			check: func(s *corev1.Service) bool { return len(s.Spec.Ports) == 2 },
		},
		"a field that is no longer wanted": {
			changed: func(s *corev1ac.ServiceApplyConfiguration) { s.Annotations = nil }, writes: true,
			check: func(s *corev1.Service) bool { _, there := s.Annotations["a"]; return !there },
		},
	} {
		t.Run(name, func(t *testing.T) { test.test(t, false) })
		t.Run(name+", restarted", func(t *testing.T) { test.test(t, true) })
	}
}

func TestWhatOthersOwnIsNotTouched(t *testing.T) {
	ctx := context.Background()
	owned := func(uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Refinery", Name: "press", UID: "other", Controller: ptr.To(uid != "")}}
	}
	tests := map[string]struct {
		owners []metav1.OwnerReference
		want   ConflictError
	}{
		"without owner":      {nil, ConflictError{"Service", "alpha", "someone else (it has no controlling owner)"}},
		"another controller": {owned("other"), ConflictError{"Service", "alpha", "Refinery press"}},
		"owner, no control":  {owned(""), ConflictError{"Service", "alpha", "someone else (it has no controlling owner)"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha", OwnerReferences: test.owners}})
			before := b.get(t)
			err := b.start().Apply(ctx, b.owner, b.service())
			var conflict *ConflictError
			if !errors.As(err, &conflict) {
				t.Fatalf("got %v, want a ConflictError", err)
			}
			if diff := cmp.Diff(test.want, *conflict); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := b.start().Delete(ctx, b.owner, b.get(t)); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, b.get(t)); diff != "" {
				t.Errorf("touched (-before +after):\n%s", diff)
			}
		})
	}
}

func TestDeleteTakesWhatIsOwned(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	a := b.start()
	if err := a.Apply(ctx, b.owner, b.service()); err != nil {
		t.Fatal(err)
	}
	s := b.get(t)
	for range 2 { // what is gone is no error
		if err := a.Delete(ctx, b.owner, s); err != nil {
			t.Error(err)
		}
	}
	if err := b.client.Get(ctx, client.ObjectKeyFromObject(s), s); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
}

func TestWhatTheSchemaDoesNotHaveIsAnErrorBeforeAnyRequest(t *testing.T) {
	b := newBench(t)
	twice := b.service(func(s *corev1ac.ServiceApplyConfiguration) {
		s.Spec.WithPorts(corev1ac.ServicePort().WithPort(1).WithProtocol(corev1.ProtocolTCP))
	})
	err := b.start().Apply(context.Background(), b.owner, twice)
	var schema *SchemaError
	if !errors.As(err, &schema) || b.applied != 0 {
		t.Errorf("got %v after %d requests, want a SchemaError", err, b.applied)
	}
}

func TestDigestOfFieldsHoldsNoValue(t *testing.T) {
	b := newBench(t)
	digest := func(value string) string {
		u, err := toUnstructured(corev1ac.Secret("s", "plant").WithData(map[string][]byte{"key": []byte(value)}))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.start().prepare(u); err != nil {
			t.Fatal(err)
		}
		return u.GetAnnotations()[Fields]
	}
	if one, two := digest("one"), digest("two"); one != two || one == "" {
		t.Errorf("%q and %q differ", one, two)
	}
}

func TestNewerComparesResourceVersions(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{{"10", "9", true}, {"9", "10", false}, {"9", "9", false}, {"", "9", false}, {"x", "9", false}} {
		if got := newer(test.a, test.b); got != test.want {
			t.Errorf("newer(%q, %q) = %v", test.a, test.b, got)
		}
	}
}

func TestWhatWasDeletedMeanwhileIsNotBroughtBack(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	a := b.start()
	if err := a.Apply(ctx, b.owner, b.service()); err != nil {
		t.Fatal(err)
	}
	s := b.get(t)
	s.UID = "read-before" // the fake server gives none
	if err := b.client.Delete(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, b.owner, b.service().WithUID(s.UID)); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := b.client.Get(ctx, client.ObjectKeyFromObject(s), s); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
}

func TestGenerationOfTheLastWriteIsRemembered(t *testing.T) {
	b := newBench(t)
	a := b.start()
	if got := a.Written(b.owner, "Service", "alpha"); got != 0 {
		t.Errorf("got %d before any write, want 0", got)
	}
	generation := int64(3)
	b.client = interceptor.NewClient(b.client.(client.WithWatch), interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			err := c.Apply(ctx, o, options...)
			o.(interface{ SetGeneration(int64) }).SetGeneration(generation) // the fake server gives none
			return err
		}})
	a = b.start()
	if err := a.Apply(context.Background(), b.owner, b.service()); err != nil {
		t.Fatal(err)
	}
	if got := a.Written(b.owner, "Service", "alpha"); got != generation {
		t.Errorf("got %d, want %d", got, generation)
	}
	b.clock.SetTime(b.clock.Now().Add(awaited))
	if got := a.Written(b.owner, "Service", "alpha"); got != 0 {
		t.Errorf("got %d when the cache has had the time to show it, want 0", got)
	}
}

func TestAWriteThatIsLostIsDoneAgainAndHoldsUpNothing(t *testing.T) {
	ctx := t.Context()
	b := newBench(t)
	a := b.start()
	if err := a.Apply(ctx, b.owner, b.service()); err != nil {
		t.Fatal(err)
	}
	// etcd is restored from a snapshot: an older version of the object, with other content.
	before := b.get(t)
	before.Annotations["a"] = "before"
	a.client = interceptor.NewClient(b.client.(client.WithWatch), interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			before.DeepCopyInto(o.(*corev1.Service))
			o.SetResourceVersion("5")
			return nil
		}})
	memory := a.memoryOf(b.owner)
	memory.status = statusRecord{"7", b.clock.Now()}
	for ref, last := range memory.objects {
		last.resourceVersion = "7"
		memory.objects[ref] = last
	}
	b.owner.ResourceVersion = "6"
	wrote := func() bool {
		applied := b.applied
		if err := a.Apply(ctx, b.owner, b.service()); err != nil {
			t.Fatal(err)
		}
		return b.applied != applied
	}
	if left := a.Behind(b.owner); wrote() || left != awaited {
		t.Errorf("at once it is taken for a cache that is behind, for %v", left)
	}
	b.clock.SetTime(b.clock.Now().Add(awaited))
	if left := a.Behind(b.owner); left != 0 || !wrote() {
		t.Errorf("later it is still taken for a cache that is behind, for %v, or was not written", left)
	}
}

func TestAnObjectThatIsMadeAgainInAnotherWayIsPutBack(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	a := b.start()
	wanted := func() *corev1ac.ServiceApplyConfiguration {
		return b.service(func(s *corev1ac.ServiceApplyConfiguration) { s.Spec.WithSelector(map[string]string{"app": "alpha"}) })
	}
	if err := a.Apply(ctx, b.owner, wanted()); err != nil {
		t.Fatal(err)
	}
	again := b.get(t)
	if err := b.client.Delete(ctx, again); err != nil {
		t.Fatal(err)
	}
	again.ResourceVersion, again.UID, again.Spec.Selector = "", "another", map[string]string{"app": "intruder"}
	if err := errors.Join(b.client.Create(ctx, again), b.client.Update(ctx, again)); err != nil { // of another version, too
		t.Fatal(err)
	}
	if err := a.Apply(ctx, b.owner, wanted()); err != nil {
		t.Fatal(err)
	}
	if got := b.get(t).Spec.Selector["app"]; got != "alpha" {
		t.Errorf("it selects %s", got)
	}
}
