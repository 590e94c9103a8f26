package outage

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/test/programs"
)

var (
	all  = flag.Bool("all", false, "run every scenario, not only the small set")
	each = flag.Int("each", 10, "nodes of each of three Refineries")
)

func TestMain(m *testing.M) {
	programs.Main()
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

func TestOutage(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: there is no etcd and no kube-apiserver")
	}
	var rows []Row
	cluster := StartCluster(t)
	for _, scenario := range Scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			if !scenario.Small && !*all && !named(scenario.Name) {
				t.Skip("not in the small set: run with -all, or name it with -run")
			}
			s := NewStage(t, cluster, scenario.What, *each)
			defer func() { rows = append(rows, s.Row) }()
			scenario.Run(s)
		})
	}
	var table strings.Builder
	if err := Table(&table, rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &table)
}

// named reports whether a scenario is asked for by name.
func named(scenario string) bool {
	return strings.Contains(flag.Lookup("test.run").Value.String(), scenario)
}
