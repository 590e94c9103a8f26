package controllers_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/clustermaster"
	"github.com/refinery-operator/refinery-operator/controllers/refinery"
)

// secretReads counts how often each Secret is read through a client.
type secretReads map[string]int

func (reads secretReads) count(c client.Client) client.Client {
	return interceptor.NewClient(withoutWatch{c}, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, ok := o.(*corev1.Secret); ok {
				reads[key.Name]++
			}
			return c.Get(ctx, key, o, options...)
		}})
}

func TestAPassAtRestReadsEachSecretOnce(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	provided := &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
	shared := v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
	for name, test := range map[string]struct {
		change           func(*v1alpha1.ClusterMaster)
		master, refinery secretReads
	}{
		"its own authority": {func(*v1alpha1.ClusterMaster) {},
			secretReads{"alpha-ca": 1, "alpha-tls": 1, "alpha-shared": 1, "alpha-peer": 1}, secretReads{"alpha-ca": 1, "alpha-tls": 1, "press-tls": 1, "app": 1}},
		"a provided authority": {func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = provided },
			secretReads{"plant-ca": 1, "alpha-ca": 1, "alpha-tls": 1, "alpha-shared": 1, "alpha-peer": 1}, secretReads{"plant-ca": 1, "alpha-tls": 1, "press-tls": 1, "app": 1}},
		"a shared certificate": {func(m *v1alpha1.ClusterMaster) { m.Spec.Security = shared },
			secretReads{"alpha-ca": 1, "alpha-tls": 1, "alpha-shared": 1, "alpha-peer": 1}, secretReads{"alpha-ca": 1, "alpha-tls": 1, "alpha-shared": 1, "press-tls": 1, "app": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := prepare(ctx, t)
			m := &v1alpha1.ClusterMaster{}
			if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "alpha"}, m); err != nil {
				t.Fatal(err)
			}
			test.change(m)
			if err := api.Update(ctx, m); err != nil {
				t.Fatal(err)
			}
			secret := fixture{ctx, namespace}.tlsSecret("plant-ca", newPlantAuthority(t))
			if err := api.Create(ctx, secret); err != nil {
				t.Fatal(err)
			}
			clk := clocktesting.NewFakePassiveClock(time.Now())
			if err := newProcessAt(namespace, 0, false, clk, "press").run(ctx, t); err != nil {
				t.Fatal(err)
			}
			reads := secretReads{}
			counted := reads.count(api)
			e := &controllers.Environment{Client: counted, Live: counted, Events: events.NewFakeRecorder(100), Clock: clk,
				Metrics: controllers.NewMetrics(), Images: images, Recheck: time.Second}
			for object, pass := range map[string]struct {
				reconcile.Reconciler
				want secretReads
			}{"alpha": {clustermaster.New(e), test.master}, "press": {refinery.New(e), test.refinery}} {
				clear(reads)
				if _, err := pass.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: object}}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(pass.want, maps.Clone(reads)); diff != "" {
					t.Errorf("reads of Secrets by the pass over %s (-want +got):\n%s", object, diff)
				}
			}
		})
	}
}
