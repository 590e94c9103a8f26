package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// namespaced are the values of an installation that needs rights in its namespaces only; docs/install.md has them.
const namespaced = "rbac.namespaced=true,crds.enabled=false,admissionPolicy.enabled=false,metrics.enabled=false"

func TestNamespacedInstallationHasNoObjectOutsideOfItsNamespaces(t *testing.T) {
	for _, row := range []struct {
		name, values string
		want         []string
	}{
		{"the release's", namespaced, []string{"refinery-system"}},
		{"several", namespaced + ",watchNamespaces={a,b}", []string{"a", "b"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			rendered, err := template(t, "--set", row.values)
			if err != nil {
				t.Fatal(err)
			}
			if want := "--watch-namespaces=" + strings.Join(row.want, ",") + "\n"; !strings.Contains(rendered, want) {
				t.Errorf("%q is not in the output", want)
			}
			got := map[string][]string{}
			for _, manifest := range strings.Split(rendered, "\n---\n") {
				for name, object := range objects(t, manifest) {
					o := unstructured.Unstructured{Object: object}
					if o.GetNamespace() == "" {
						t.Errorf("%s is in no namespace", name)
					}
					if name == "Role refinery-operator" || name == "RoleBinding refinery-operator-namespaced" {
						got[o.GetKind()] = append(got[o.GetKind()], o.GetNamespace())
					}
				}
			}
			if diff := cmp.Diff(map[string][]string{"Role": row.want, "RoleBinding": row.want}, got); diff != "" {
				t.Errorf("namespaces of the operator's rights (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotesNameANamespaceThatTheOperatorWatches(t *testing.T) {
	for values, want := range map[string]string{
		"":                      "kubectl create namespace plant\nkubectl apply -n plant -f",
		"watchNamespaces={a,b}": "Create a master and a group of nodes:\n\nkubectl apply -n a -f",
		"rbac.namespaced=true":  "Create a master and a group of nodes:\n\nkubectl apply -n refinery-system -f",
	} {
		notes, err := run(t, "HELM", "install", "refinery-operator", chartPath, "--namespace=refinery-system", "--dry-run=client", "--set="+values)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(notes, want) {
			_, notes, _ = strings.Cut(notes, "NOTES:")
			t.Errorf("with %q: %q is not in the notes:\n%s", values, want, notes)
		}
	}
}
