package controllers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// operatorProcess in the environment makes this test binary the operator.
const operatorProcess = "RUN_AS_OPERATOR"

func TestOperatorProcessServesProbesAndGuardsItsMetrics(t *testing.T) {
	requireServer(t)
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	admin, err := server.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, restConfig)
	g.Expect(err).NotTo(HaveOccurred())
	kubeconfig, err := admin.KubeConfig()
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(file, kubeconfig, 0o600)).To(Succeed())

	health, metrics := loopback.Reserve(t), loopback.Reserve(t)
	var stderr bytes.Buffer
	operator := exec.Command(os.Args[0], "--master-image=m", "--refinery-image=r", "--kubeconfig="+file, //nolint:gosec // this test binary
		"--release=default/process", "--health-address="+health, "--metrics-address="+metrics)
	operator.Env, operator.Stderr = append(os.Environ(), operatorProcess+"=1"), &stderr
	g.Expect(operator.Start()).To(Succeed())
	t.Cleanup(func() { _ = operator.Process.Kill() })

	g.Eventually(status("http://"+health+"/readyz", "")).Should(Equal(http.StatusOK))
	stranger, scraper := token(t, "stranger"), token(t, "scraper")
	g.Expect(api.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	})).To(Succeed())
	g.Expect(api.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scraper"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "scraper"}},
	})).To(Succeed())
	url := "https://" + metrics + "/metrics"
	g.Eventually(status(url, scraper)).Should(Equal(http.StatusOK))
	g.Expect(status(url, "")()).To(Equal(http.StatusUnauthorized))
	g.Expect(status(url, stranger)()).To(Equal(http.StatusForbidden))

	measured := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "measured"}}
	g.Expect(api.Create(t.Context(), measured)).To(Succeed())
	t.Cleanup(func() { _ = api.Delete(context.Background(), measured) })
	in := func(d time.Duration) string {
		return strconv.FormatFloat(float64(time.Now().Add(d).Unix()), 'g', -1, 64)[:5]
	}
	g.Eventually(func() string { _, body := fetch(url, scraper); return body }).Should(And(
		ContainSubstring(`refinery_operator_certificate_expiry_timestamp_seconds{kind="ClusterMaster",name="measured",namespace="default"} `+in(v1alpha1.DefaultCertificateDuration)),
		ContainSubstring(`refinery_operator_authority_expiry_timestamp_seconds{name="measured",namespace="default"} `+in(v1alpha1.DefaultCADuration))))

	g.Expect(operator.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(operator.Wait()).To(Succeed())
	for line := range strings.Lines(stderr.String()) {
		g.Expect(json.Valid([]byte(line))).To(BeTrue(), line)
	}
}

// status polls the HTTP status of a URL, 0 for none.
func status(url, bearer string) func() int {
	return func() int {
		code, _ := fetch(url, bearer)
		return code
	}
}

func fetch(url, bearer string) (code int, body string) {
	insecure := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it serves a certificate of its own making
	}}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	must(err)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := insecure.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(err)
	return response.StatusCode, string(content)
}

// token makes a ServiceAccount and a token of its.
func token(t *testing.T, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	request := &authenticationv1.TokenRequest{}
	if err := api.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := api.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}
