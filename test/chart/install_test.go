package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

// olderChart is a copy of the chart whose CRD of Refineries has another short name.
func olderChart(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(chartPath)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "templates", "generated-crd-refineries.yaml")
	crd, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	older := bytes.Replace(crd, []byte("    - rfy\n"), []byte("    - older\n"), 1)
	if bytes.Equal(crd, older) {
		t.Fatal("the CRD of Refineries does not have the short name rfy")
	}
	if err := os.WriteFile(file, older, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestUpgradeBringsTheCRDsAndKeepsWhatPeopleMade(t *testing.T) {
	s := newSite(t)
	s.helm("install", "refinery-operator", olderChart(t), "--namespace=refinery-system", "--create-namespace")
	s.Expect(s.crd("refineries").Spec.Names.ShortNames).To(Equal([]string{"older"}))
	refinery := s.newRefinery("still")
	s.helm("upgrade", "refinery-operator", chartPath, "--namespace=refinery-system")
	s.Expect(s.crd("refineries").Spec.Names.ShortNames).To(Equal([]string{"rfy"}))
	s.expectUnharmed(refinery)
	for _, example := range examples(t) {
		example.SetNamespace("plant")
		s.Expect(s.api.Create(t.Context(), example, client.FieldValidation(metav1.FieldValidationStrict))).To(Succeed())
	}
}

func TestAnotherReleaseTakesOverWhatAnUninstalledOneLeaves(t *testing.T) {
	s := newSite(t)
	s.helm("install", "west", chartPath, "--namespace=refinery-system", "--create-namespace")
	refinery := s.newRefinery("press")
	s.helm("uninstall", "west", "--namespace=refinery-system", "--wait", "--timeout=1m")
	s.expectUnharmed(refinery)
	_, err := run(t, "HELM", "install", "east", chartPath, "--namespace=elsewhere", "--create-namespace", "--kubeconfig="+s.admin)
	s.Expect(err).To(MatchError(ContainSubstring("invalid ownership metadata")))
	s.helm("install", "east", chartPath, "--namespace=elsewhere", "--create-namespace", "--take-ownership")
	s.expectOwner("east", "elsewhere")
	s.helm("upgrade", "east", chartPath, "--namespace=elsewhere")
	s.expectUnharmed(refinery)
}

func TestAReleaseTakesOverWhatManifestsInstalled(t *testing.T) {
	s := newSite(t)
	s.kubectl("apply", "-k", configPath)
	refinery := s.newRefinery("press")
	s.kubectl("delete", "deployment", "refinery-operator", "--namespace=refinery-system") // as what it selects cannot be changed
	s.helm("install", "refinery-operator", chartPath, "--namespace=refinery-system", "--take-ownership", "--force-conflicts")
	s.expectOwner("refinery-operator", "refinery-system")
	s.expectUnharmed(refinery)
	_, err := run(t, "HELM", "upgrade", "refinery-operator", olderChart(t), "--namespace=refinery-system", "--kubeconfig="+s.admin)
	s.Expect(err).To(MatchError(ContainSubstring("conflict"))) // as what kubectl applied is its own still
	s.helm("upgrade", "refinery-operator", olderChart(t), "--namespace=refinery-system", "--force-conflicts")
	s.Expect(s.crd("refineries").Spec.Names.ShortNames).To(Equal([]string{"older"}))
	s.expectUnharmed(refinery)
}

func TestOperatorOfANamespacedInstallationWorksWithRightsInItsNamespaceOnly(t *testing.T) {
	s := newSite(t, filepath.Join("..", "..", "config", "crd", "bases"))
	installer := s.user("installer")
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "installer"},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "installer"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "installer"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "installer"}}},
	} {
		s.Expect(s.api.Create(t.Context(), object)).To(Succeed())
	}
	_, err := run(t, "HELM", "install", "refinery-operator", chartPath, "--namespace=plant", "--set="+namespaced, "--kubeconfig="+installer)
	s.Expect(err).NotTo(HaveOccurred())

	deployment := &appsv1.Deployment{}
	s.Expect(s.api.Get(t.Context(), client.ObjectKey{Namespace: "plant", Name: "refinery-operator"}, deployment)).To(Succeed())
	pod := deployment.Spec.Template.Spec
	account := s.user("system:serviceaccount:plant:"+pod.ServiceAccountName, "system:serviceaccounts", "system:serviceaccounts:plant")
	health := loopback.Reserve(t)
	programs.Start(t, programs.Operator, "operator", t.TempDir(),
		append(pod.Containers[0].Args, "--kubeconfig="+account, "--health-address="+health)...)

	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
	s.Expect(s.api.Create(t.Context(), m)).To(Succeed())
	s.Eventually(func(g Gomega) {
		g.Expect(s.api.Get(t.Context(), client.ObjectKeyFromObject(m), m)).To(Succeed())
		g.Expect(m.Status.ObservedGeneration).To(Equal(m.Generation))
		g.Expect(s.api.Get(t.Context(), client.ObjectKey{Namespace: "plant", Name: "alpha"}, &appsv1.Deployment{})).To(Succeed())
	}).Should(Succeed())
	s.Eventually(get("http://" + health + "/readyz")).Should(Equal(200))
}
