package resource

import (
	"reflect"
	"slices"
	"testing"

	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// A change of a field counts as asked for by the owner exactly if pods are another after it.
func TestTheOwnerAsksForWhatChangesThePods(t *testing.T) {
	changes := map[string]string{
		"masterRef":               `{name: alpha}`,
		"replicas":                `7`,
		"readinessGraceSeconds":   `7`,
		"placement":               `InCluster`,
		"type":                    `smelter`,
		"version":                 `7.0.0`,
		"nodes":                   `{rest: true}`,
		"access":                  `Suspended`,
		"certificateSecretRef":    `{name: own}`,
		"upstream":                `north`,
		"banned":                  `[{id: press/a}]`,
		"commonMetadata":          `{labels: {team: press}}`,
		"ports":                   `[{name: http, containerPort: 80}]`,
		"imagePullSecrets":        `[{name: registry}]`,
		"podDisruptionBudget":     `{maxUnavailable: 2}`,
		"strategy":                `{maxSurge: 2}`,
		"minReadySeconds":         `7`,
		"progressDeadlineSeconds": `7`,
		"service":                 `{type: NodePort}`,
		"statefulSet":             `{volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce]}}]}`,
		"agent":                   `{logLevel: debug}`,
		"template":                `{spec: {containers: [{name: app, image: example.com/app}]}}`,
		"upgradePolicy":           `Automatic`,
		"paused":                  `true`,
	}
	fields := slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[v1alpha1.RefinerySpec]()), func(f reflect.StructField) bool { return f.Anonymous })
	if len(fields) != len(changes) {
		t.Fatalf("spec has %d fields, and %d are tried here", len(fields), len(changes))
	}
	former, before := madeFor(t, testRefinery(nil))
	for field, value := range changes {
		r := testRefinery(nil)
		if err := yaml.UnmarshalStrict([]byte("{"+field+": "+value+"}"), &r.Spec); err != nil {
			t.Fatal(err)
		}
		making, pods := madeFor(t, r)
		same, err := SamePods(before, pods)
		if err != nil {
			t.Fatal(err)
		}
		if asks := making.AsksMoreThan(former, true) || !Connects(before, pods, testMaster(nil)); asks == same {
			t.Errorf("%s: the owner asks for other pods: %v; the same pods: %v", field, asks, same)
		}
		if making.Revision != former.Revision {
			t.Errorf("%s changes the revision, which is the same for all Refineries of a ClusterMaster", field)
		}
	}
}

// madeFor is what the pods of a Refinery are made from, and their template.
func madeFor(t *testing.T, r *v1alpha1.Refinery) (Making, *v1.PodTemplateSpecApplyConfiguration) {
	t.Helper()
	making, err := MakingOf(r, testMaster(nil), testImages)
	if err != nil {
		t.Fatal(err)
	}
	d, err := RefineryDeployment(r, testMaster(nil), testImages)
	if err != nil {
		t.Fatal(err)
	}
	return making, d.Spec.Template
}
