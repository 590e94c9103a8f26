package api

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	deletionPolicy = "master_deletion_policy.yaml"
	allowing       = "cluster.refinery.dev/allow-deletion"
)

// newNamespace makes a namespace. What is in it stays: nobody is there to remove it.
func newNamespace(t *testing.T, c client.Client) *corev1.Namespace {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "plant-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace
}

// named makes a ClusterMaster with annotations that a number of Refineries name, by its status; with -1 it has none.
func named(t *testing.T, c client.Client, namespace, name string, total int64, annotations map[string]string) *unstructured.Unstructured {
	t.Helper()
	m := object(t, master("{}"))
	m.SetName(name)
	m.SetNamespace(namespace)
	m.SetAnnotations(annotations)
	if err := c.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if total < 0 {
		return m
	}
	m.Object["status"] = map[string]any{"refineries": map[string]any{"total": total, "authenticated": int64(0), "summary": "0/1"}}
	if err := c.Status().Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// tryDelete reports what would come of a deletion.
func tryDelete(c client.Client, m *unstructured.Unstructured) error {
	return c.Delete(context.Background(), m, client.DryRunAll)
}

func TestAClusterMasterThatRefineriesNameIsNotDeleted(t *testing.T) {
	c, person := newClient(t), user(t, "jane")
	plant := newNamespace(t, c).Name
	probe := named(t, c, plant, "probe", 1, nil)
	installPolicy(t, c, deletionPolicy, func() error { return tryDelete(person, probe) })

	const refused = "ClusterMaster alpha has Refineries that name it, 2 by its status.refineries.total, whose nodes it would shut out: delete these first"
	for name, row := range map[string]struct {
		by          string
		total       int64
		annotations map[string]string
		refused     string
	}{
		"by a person":                                {"jane", 2, nil, refused},
		"by the pipeline that prunes":                {"system:serviceaccount:argocd:argocd-application-controller", 2, nil, refused},
		"by another controller of Kubernetes":        {"system:serviceaccount:kube-system:job-controller", 2, nil, refused},
		"by a namesake of the namespace controller":  {"system:serviceaccount:plant:namespace-controller", 2, nil, refused},
		"that no Refinery names":                     {"jane", 0, nil, ""},
		"that no master has reported on":             {"jane", -1, nil, ""},
		"that the annotation allows to delete":       {"jane", 2, map[string]string{allowing: "true"}, ""},
		"that the annotation says no of":             {"jane", 2, map[string]string{allowing: "false"}, refused},
		"that another annotation is set on":          {"jane", 2, map[string]string{"example.com/allow-deletion": "true"}, refused},
		"by the namespace controller":                {"system:serviceaccount:kube-system:namespace-controller", 2, nil, ""},
		"by the garbage collector":                   {"system:serviceaccount:kube-system:generic-garbage-collector", 2, nil, ""},
		"by controllers that share one account":      {"system:kube-controller-manager", 2, nil, ""},
		"that one Refinery names, as the words tell": {"jane", 1, nil, "kubectl annotate clustermaster -n NAMESPACE alpha " + allowing + "=true"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t, c).Name
			m := named(t, c, namespace, "alpha", row.total, row.annotations)
			all := &unstructured.Unstructured{}
			all.SetGroupVersionKind(m.GroupVersionKind())
			for how, err := range map[string]error{
				"one": tryDelete(user(t, row.by), m),
				"all": user(t, row.by).DeleteAllOf(t.Context(), all, client.InNamespace(namespace), client.DryRunAll),
			} {
				if row.refused == "" && err != nil {
					t.Errorf("%s: %v", how, err)
				}
				if words := strings.ReplaceAll(row.refused, "NAMESPACE", namespace); words != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), words)) {
					t.Errorf("%s: got %v, want %q", how, err, words)
				}
			}
		})
	}
	goesInAnyCase(t, c, person)
}

// goesInAnyCase shows that what is on its way already is not kept from it.
func goesInAnyCase(t *testing.T, c, person client.Client) {
	t.Helper()
	t.Run("in a namespace that is being deleted", func(t *testing.T) {
		namespace := newNamespace(t, c)
		m := named(t, c, namespace.Name, "alpha", 2, nil)
		if err := tryDelete(person, m); err == nil {
			t.Fatal("it is not refused before")
		}
		if err := c.Delete(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
		await(t, "deleted", func() bool { return tryDelete(person, m) == nil })
	})
	t.Run("that is being deleted already", func(t *testing.T) {
		m := named(t, c, newNamespace(t, c).Name, "alpha", 2, map[string]string{allowing: "true"})
		m.SetFinalizers([]string{"example.com/held"})
		if err := c.Update(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if err := person.Delete(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
		if err := c.Patch(t.Context(), m, patch); err != nil {
			t.Fatal(err)
		}
		if err := tryDelete(person, m); err != nil {
			t.Error(err)
		}
	})
}

// await polls until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not %s in time", what)
		}
	}
}

// The chart's CRDs can go with its release.
func TestACRDTakesItsClusterMastersWithItWhateverNamesThem(t *testing.T) {
	env := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	own, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(own, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	m := named(t, c, newNamespace(t, c).Name, "alpha", 2, nil)
	installPolicy(t, c, deletionPolicy, func() error { return tryDelete(c, m) })
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "clustermasters.cluster.refinery.dev"}}
	if err := c.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	await(t, "gone", func() bool { return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd)) })
}
