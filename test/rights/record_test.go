package rights

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatTheAuditLogShowsOfTheProgramsIsUsed(t *testing.T) {
	const log = `{"verb":"patch","userAgent":"refinery-operator/1","objectRef":{"resource":"deployments","apiGroup":"apps","name":"alpha"},"responseStatus":{"code":201},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"patch","userAgent":"refinery-operator/1","objectRef":{"resource":"refineries","apiGroup":"cluster.refinery.dev","subresource":"status","name":"press"},"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"list","userAgent":"refinery-operator/1","objectRef":{"resource":"nodes"},"responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}}
{"verb":"get","userAgent":"refinery-master/1","objectRef":{"resource":"leases","apiGroup":"coordination.k8s.io","name":"alpha-active"},"responseStatus":{"code":404},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"get","userAgent":"kubectl/1","objectRef":{"resource":"pods","name":"alpha-0"},"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"get","userAgent":"refinery-operator/1","requestURI":"/version","responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}}
`
	used := map[Request]bool{}
	if err := read(strings.NewReader(log), used); err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{Master, "coordination.k8s.io", "leases", "get", "alpha-active"},
		{Operator, "apps", "deployments", "create", "alpha"},
		{Operator, "apps", "deployments", "patch", "alpha"},
		{Operator, "cluster.refinery.dev", "refineries/status", "patch", "press"},
	}
	if diff := cmp.Diff(want, sorted(used)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
