package rights

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// suites are those that record, with the target of make that runs each.
var suites = map[string]string{
	"controllers-apart": "test-controllers", "controllers-rest": "test-controllers", "master": "test-controllers", "operator": "test-controllers",
	"certmanager": "test-certmanager", "chart": "test-chart",
}

// ownersEnforced is why a right is needed that no audit log shows: admission asks for it, and not the operator.
const ownersEnforced = "OwnerReferencesPermissionEnforcement, which is on in the suite of the controllers, asks for it when the operator "

// unseen are the rights that no request shows, and why they are needed.
var unseen = map[Program]map[string]string{
	Operator: {
		"update cluster.refinery.dev clustermasters/finalizers": ownersEnforced + "makes what a ClusterMaster owns",
		"update cluster.refinery.dev refineries/finalizers":     ownersEnforced + "makes what a Refinery owns",
		"delete coordination.k8s.io leases":                     ownersEnforced + "adopts a Lease",
		"delete rbac.authorization.k8s.io roles":                ownersEnforced + "adopts a Role",
	},
}

// seldom are the rights that a request shows in some runs of the suites, and why they are needed.
var seldom = map[Program]map[string]string{
	Operator: {
		"list cert-manager.io certificates": "An API server that does not stream lists, or not in time, is asked for one before the watch; that of the suite streams them.",
	},
}

// name is that of the release, and of its ServiceAccount.
const name = "refinery-operator"

func TestEveryRightIsUsedAndEveryUseIsGranted(t *testing.T) {
	used := recorded(t)
	for program, granted := range map[Program]map[grant]string{Operator: operatorGrants(t), Master: masterGrants(t)} {
		if len(used[program]) == 0 {
			t.Fatalf("the suites saw no request of the %s", program)
		}
		for _, wrong := range compare(program, granted, used[program], unseen[program], seldom[program]) {
			t.Error(wrong)
		}
	}
}

// recorded returns what the suites saw used. All of them have to have recorded: what one of them uses is not unused.
func recorded(t *testing.T) map[Program][]Request {
	t.Helper()
	folder := os.Getenv(Used)
	if folder == "" {
		t.Skip(Used + " is not set; make test-rights sets it")
	}
	used := map[Program][]Request{}
	lacking := map[string]bool{}
	for suite, target := range suites {
		raw, err := os.ReadFile(file(folder, suite))
		if errors.Is(err, fs.ErrNotExist) {
			lacking[target] = true
			continue
		}
		var requests []Request
		if err = errors.Join(err, json.Unmarshal(raw, &requests)); err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			used[r.Program] = append(used[r.Program], r)
		}
	}
	if len(lacking) > 0 {
		t.Fatalf("nothing can be said yet: to record which rights are used, run first, whole and without a failure: make %s",
			strings.Join(slices.Sorted(maps.Keys(lacking)), " "))
	}
	return used
}

// operatorGrants are those of all roles that the ways to install the operator give it. Those of the release have names that begin
// with its name, which is another one in suites.
func operatorGrants(t *testing.T) map[grant]string {
	t.Helper()
	granted := map[grant]string{}
	add := func(source string, manifests []byte) {
		roles := rolesOf(t, manifests)
		if len(roles) == 0 {
			t.Fatalf("%s gives the operator no role", source)
		}
		for role, rules := range roles {
			for _, g := range grantsOf(rules) {
				g.name, g.meant = strings.Replace(g.name, name, "*", 1), strings.Replace(g.meant, name, "*", 1)
				if granted[g] == "" {
					granted[g] = role + " of " + source
				}
			}
		}
	}
	add("config/rbac", configured(t))
	for _, values := range modes() {
		add("the chart with "+values, rendered(t, values))
	}
	return granted
}

// modes are the values of the chart that decide about roles, in each combination.
func modes() []string {
	var all []string
	for _, namespaced := range []string{"rbac.namespaced=false", "rbac.namespaced=true"} {
		for _, metrics := range []string{"metrics.enabled=false", "metrics.enabled=true"} {
			for _, namespaces := range []string{"", "watchNamespaces={a,b}"} {
				all = append(all, strings.TrimSuffix(strings.Join([]string{namespaced, metrics, namespaces}, ","), ","))
			}
		}
	}
	return all
}

// The suites do not tell by which installation a right was used. They do not have to, as one grants what the others do.
func TestEveryInstallationGrantsTheSameButForMetricsOfAWholeCluster(t *testing.T) {
	if os.Getenv("HELM") == "" {
		t.Skip("HELM is not set; make test-rights sets it")
	}
	grants := func(manifests []byte) []string {
		all := map[string]bool{}
		for _, rules := range rolesOf(t, manifests) {
			for _, g := range grantsOf(rules) {
				all[g.String()] = true
			}
		}
		return slices.Sorted(maps.Keys(all))
	}
	whole := grants(configured(t))
	for _, values := range modes() {
		want := slices.Clone(whole)
		if strings.Contains(values, "rbac.namespaced=true") || strings.Contains(values, "metrics.enabled=false") {
			// By these the operator asks who may read its metrics. There is no Role that allows it.
			want = slices.DeleteFunc(want, func(grant string) bool {
				return grant == "create authentication.k8s.io tokenreviews" || grant == "create authorization.k8s.io subjectaccessreviews"
			})
		}
		if diff := cmp.Diff(want, grants(rendered(t, values))); diff != "" {
			t.Errorf("the chart with %s grants other rights than config/rbac (-want +got):\n%s", values, diff)
		}
	}
}

// configured are the manifests of config/rbac, of which the package of the Operator Lifecycle Manager is made too.
func configured(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "rbac", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, raw...), "\n---\n"...)
	}
	return all
}

func rendered(t *testing.T, values string) []byte {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		t.Fatal("HELM is not set; make test-rights sets it")
	}
	command := exec.Command(helm, "template", name, filepath.Join("..", "..", "charts", "refinery-operator"), "--namespace=refinery-system", "--set="+values) //nolint:gosec // the helm of make test-rights
	var stderr bytes.Buffer
	command.Stderr = &stderr
	manifests, err := command.Output()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr.Bytes())
	}
	return manifests
}

// rolesOf are the rules of the roles that manifests bind to the operator's ServiceAccount, by kind and name.
func rolesOf(t *testing.T, manifests []byte) map[string][]rbacv1.PolicyRule {
	t.Helper()
	roles, bound := map[string][]rbacv1.PolicyRule{}, map[string]bool{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Rules    []rbacv1.PolicyRule
			RoleRef  rbacv1.RoleRef
			Subjects []rbacv1.Subject
		}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch object.Kind {
		case "Role", "ClusterRole":
			roles[object.Kind+" "+object.Metadata.Name] = object.Rules
		case "RoleBinding", "ClusterRoleBinding":
			if slices.ContainsFunc(object.Subjects, func(s rbacv1.Subject) bool { return s.Kind == rbacv1.ServiceAccountKind && s.Name == name }) {
				bound[object.RoleRef.Kind+" "+object.RoleRef.Name] = true
			}
		}
	}
	maps.DeleteFunc(roles, func(role string, _ []rbacv1.PolicyRule) bool { return !bound[role] })
	return roles
}

func masterGrants(t *testing.T) map[grant]string {
	t.Helper()
	m := &v1alpha1.ClusterMaster{}
	m.Name = "*" // in the names of what is its own
	m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "east", Service: &v1alpha1.UpstreamService{Name: "ingest", Port: 1}}}
	raw, err := json.Marshal(resource.MasterRole(m))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.Role
	if err := json.Unmarshal(raw, &role); err != nil {
		t.Fatal(err)
	}
	granted := map[grant]string{}
	for _, g := range grantsOf(role.Rules) {
		granted[g] = "its Role"
	}
	return granted
}
