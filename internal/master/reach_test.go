package master

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// probe returns the answer of a master's health server, 0 for none.
func (m *process) probe(path string) (code int, body string) {
	response, err := http.Get("http://" + m.options.HealthAddress + path)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	content, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(content)
}

// waits reports whether a master lives and is not ready, for this reason.
func (m *process) waits(reason string) bool {
	live, _ := m.probe("/healthz")
	ready, why := m.probe("/readyz")
	return live == http.StatusOK && ready == http.StatusServiceUnavailable && strings.Contains(why, reason)
}

func TestAMasterThatStartsWhileTheAPIServerIsAwayWaitsAndResumes(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	server, err := url.Parse(p.config.Host)
	p.must(err)
	address := loopback.Reserve(t)
	p.config = rest.CopyConfig(p.config)
	p.config.Host = "https://" + address
	m := p.start("alpha-0")
	p.until("it waits for the API server", func() bool { return m.waits("the API server at https://" + address) })

	loopback.Forward(t, address, server.Host)
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	if code, why := m.probe("/readyz"); code != http.StatusOK {
		t.Errorf("%d %s", code, why)
	}
	m.stop() // which needs the API server, and so the way to it
}

func TestAMasterWithoutPermissionsWaitsUntilItHasThem(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	user, err := environment.env.AddUser(envtest.User{Name: "late"}, p.config)
	p.must(err)
	p.config = user.Config()
	m := p.start("alpha-0")
	p.until("it waits for permissions", func() bool { return m.waits(`cannot get resource "clustermasters"`) })
	p.must(p.client.Create(p.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "late"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "late"}},
	}))
	p.until("it is ready", func() bool { code, _ := m.probe("/readyz"); return code == http.StatusOK })
}

func TestAMasterThatIsStoppedWhileItWaitsEndsInOrder(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.config = rest.CopyConfig(p.config)
	p.config.Host = "https://" + loopback.Reserve(t)
	m := p.start("alpha-0")
	p.until("it waits for the API server", func() bool { return m.waits("connection refused") })
	m.stop() // which reports an error
}
