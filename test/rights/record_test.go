package rights

import (
	"flag"
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

func TestOnlyAWholeSuiteIsRecordedOrTheTwoPartsOfIt(t *testing.T) {
	for _, row := range []struct {
		args  []string
		apart string
		want  string
	}{
		{want: "suite"},
		{args: []string{"-test.v", "-test.run="}, want: "suite"},
		{args: []string{"-test.run=TestSpecs$"}},
		{args: []string{"-test.skip=TestSpecs$"}},
		{args: []string{"-ginkgo.focus=one"}},
		{args: []string{"-test.run=TestSpecs$"}, apart: "TestSpecs$", want: "suite-apart"},
		{args: []string{"-test.skip=TestSpecs$"}, apart: "TestSpecs$", want: "suite-rest"},
		{args: []string{"-test.run=TestOther"}, apart: "TestSpecs$"},
		{args: []string{"-test.run=TestSpecs$", "-ginkgo.focus=one"}, apart: "TestSpecs$"},
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.Bool("test.v", false, "")
		for _, name := range []string{"test.run", "test.skip", "ginkgo.focus"} {
			flags.String(name, "", "")
		}
		if err := flags.Parse(row.args); err != nil {
			t.Fatal(err)
		}
		if got := (&Recorder{Suite: "suite", Apart: row.apart}).part(flags); got != row.want {
			t.Errorf("%v with %q apart is recorded as %q, want %q", row.args, row.apart, got, row.want)
		}
	}
}
