package certificates

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

func TestASecretThatSomeoneMakesDuringAPassIsLeftAsItIs(t *testing.T) {
	ctx := context.Background()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	live := fake.NewClientBuilder().WithScheme(scheme).Build()
	// The cache has what bears the operator's label: of the Secrets here, none.
	cache := interceptor.NewClient(live, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
		}})
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha", UID: "uid-of-alpha"}}
	desired := resource.MasterSharedSecret(m, resource.Shared{Certificate: []byte("the operator's")})
	pass := NewSecrets(apply.New(cache, live, clock.RealClock{}), cache, live, nil, nil)
	if found, err := pass.Own(ctx, m, *desired.Name); found != nil || err != nil {
		t.Fatalf("at the start of the pass: %v, %v", found, err)
	}

	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: *desired.Name}, Data: map[string][]byte{"password": []byte("theirs")}}
	if err := live.Create(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if _, taken := errors.AsType[*apply.ConflictError](pass.Apply(ctx, m, desired)); !taken {
		t.Error("no ConflictError")
	}
	after := &corev1.Secret{}
	if err := live.Get(ctx, client.ObjectKeyFromObject(theirs), after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, after); diff != "" {
		t.Errorf("touched (-before +after):\n%s", diff)
	}

	if err := live.Delete(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if err := pass.Apply(ctx, m, desired); err != nil {
		t.Errorf("once the name is free: %v", err)
	}
	if made, err := pass.Own(ctx, m, *desired.Name); made == nil || err != nil {
		t.Errorf("once the name is free: %v, %v", made, err)
	}
}
