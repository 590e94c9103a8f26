package api

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// masterOf acts as the pods of a ClusterMaster.
func masterOf(t *testing.T, namespace, name string) client.Client {
	t.Helper()
	return user(t, "system:serviceaccount:"+namespace+":"+name+"-master")
}

// user acts as someone. Roles are not what is tested: a group lets everybody do everything.
func user(t *testing.T, name string) client.Client {
	t.Helper()
	as := rest.CopyConfig(config)
	as.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:masters"}}
	c, err := client.New(as, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// installPolicy makes the API server judge by a policy of config/admission, and waits until it does.
func installPolicy(t *testing.T, c client.Client, name string, refused func() error) {
	t.Helper()
	file, err := os.Open("../../config/admission/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	installManifests(t, c, file, refused)
}

// installManifests creates what a stream of manifests has, and waits until that refuses something.
func installManifests(t *testing.T, c client.Client, manifests io.Reader, refused func() error) {
	t.Helper()
	for decoder := utilyaml.NewYAMLOrJSONDecoder(manifests, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := create(t, c, o); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); refused() == nil; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the policy is not in force in time")
		}
	}
}

// at is a time in a manifest.
const at = `"2026-01-01T00:00:00Z"`

// condition is one of a type in a manifest.
func condition(kind string) string {
	return "{type: " + kind + `, status: "True", reason: Tested, message: "", lastTransitionTime: ` + at + "}"
}

func TestAMasterChangesOnlyWhatIsAMasters(t *testing.T) {
	c := newClient(t)
	alpha, press := object(t, master("{}")), object(t, refinery("{masterRef: {name: alpha}}"))
	for _, o := range []*unstructured.Unstructured{alpha, press} {
		if err := create(t, c, o); err != nil {
			t.Fatal(err)
		}
	}
	// apply writes a part of status as a master does, or as the operator.
	apply := func(c client.Client, o *unstructured.Unstructured, owner client.FieldOwner, status string) error {
		want := object(t, "kind: "+o.GetKind()+"\nmetadata: {name: "+o.GetName()+"}\nstatus: "+status)
		return c.Status().Apply(context.Background(), client.ApplyConfigurationFromUnstructured(want), owner, client.ForceOwnership)
	}
	byOperator := func(o *unstructured.Unstructured) {
		t.Helper()
		if err := apply(c, o, v1alpha1.OperatorFieldOwner, "{observedGeneration: 1, replicas: 1, conditions: ["+condition("Ready")+"]}"); err != nil {
			t.Fatal(err)
		}
	}
	byOperator(alpha)
	byOperator(press)
	own := masterOf(t, "default", "alpha")
	installPolicy(t, c, "master_status_policy.yaml", func() error { return apply(own, press, "tester", "{selector: probe}") })
	if err := apply(c, press, "probe", "{selector: other}"); err != nil {
		t.Errorf("someone else is judged too: %v", err)
	}

	const reporter = "reporter: {pod: alpha-0, epoch: 1}"
	const active = "active: {pod: alpha-0, epoch: 1, since: " + at + "}"
	const outside = "the fields of status that are the master's"
	for name, row := range map[string]struct {
		as      client.Client
		object  *unstructured.Unstructured
		owner   client.FieldOwner
		status  string
		refused string
	}{
		"its report": {own, press, v1alpha1.MasterFieldOwner, "{" + reporter + `, authenticated: {nodes: 1, wanted: 1, summary: 1/1},
			nodes: [{id: press/a, state: Authenticated, lastTransitionTime: ` + at + "}], conditions: [" + condition("Authenticated") + "]}", ""},
		"its totals":                    {own, alpha, v1alpha1.MasterFieldOwner, "{" + active + ", refineries: {total: 1, authenticated: 1, summary: 1/1}, nodes: {wanted: 1, authenticated: 1}, upstreams: []}", ""},
		"a listed certificate":          {own, press, "tester", "{" + reporter + ", certificates: [{fingerprint: " + long + ", notAfter: " + at + ", use: Current}]}", outside},
		"the selector":                  {own, press, "tester", "{" + reporter + ", selector: probe}", outside},
		"a field that is taken away":    {own, press, v1alpha1.OperatorFieldOwner, "{" + reporter + ", observedGeneration: 1, conditions: [" + condition("Ready") + "]}", outside},
		"another condition":             {own, press, "tester", "{" + reporter + ", conditions: [" + condition("CertificateReady") + "]}", "no condition but Authenticated"},
		"an epoch back":                 {own, press, v1alpha1.MasterFieldOwner, "{reporter: {pod: alpha-0, epoch: 0}}", "only the operator takes an epoch back"},
		"a condition of itself":         {own, alpha, "tester", "{" + active + ", conditions: [" + condition("Stalled") + "]}", outside},
		"its own endpoint":              {own, alpha, "tester", "{" + active + ", endpoint: elsewhere}", outside},
		"a Refinery of another":         {masterOf(t, "default", "beta"), press, v1alpha1.MasterFieldOwner, "{" + reporter + "}", "may change the status of ClusterMaster beta"},
		"another ClusterMaster":         {masterOf(t, "default", "beta"), alpha, v1alpha1.MasterFieldOwner, "{" + active + "}", "may change the status of ClusterMaster beta"},
		"a Refinery elsewhere":          {masterOf(t, "elsewhere", "alpha"), press, v1alpha1.MasterFieldOwner, "{" + reporter + "}", "in its own namespace"},
		"the namesake of another alpha": {masterOf(t, "default", "alpha-master"), press, v1alpha1.MasterFieldOwner, "{" + reporter + "}", "may change the status of ClusterMaster alpha-master"},
	} {
		t.Run(name, func(t *testing.T) {
			err := apply(row.as, row.object, row.owner, row.status)
			if row.refused == "" && err != nil {
				t.Error(err)
			}
			if row.refused != "" && (!apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), row.refused)) {
				t.Errorf("got %v, want %q", err, row.refused)
			}
		})
	}
}
