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
	table = flag.String("table", "", "file that the table is written to after each scenario, so that a run that is interrupted keeps what it has")
	all   = flag.Bool("all", false, "run every scenario, not only the small set")
	nodes = flag.Int("nodes", MinNodes, "how many nodes there are, at least 30; of three Refineries, or as many as have a hundred each")
)

func TestMain(m *testing.M) {
	if os.Getenv(carrying) != "" {
		carry(os.Stdin, os.Stdout)
		return
	}
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
			s := NewStage(t, cluster, scenario, *nodes)
			defer func() { rows = record(s, rows) }()
			scenario.Run(s)
		})
	}
	t.Logf("\n%s", Table(rows))
}

// record appends the row of a scenario that is over.
func record(s *Stage, rows []Row) []Row {
	s.Helper()
	if s.Failed() && len(s.Row.Missed) == 0 {
		s.Row.Missed = []string{"it could not be measured: see what the test says"}
	}
	rows = append(rows, s.Row)
	if *table != "" {
		if err := os.WriteFile(*table, []byte(Table(rows)), 0o600); err != nil {
			s.Error(err)
		}
	}
	return rows
}

// named reports whether a scenario is asked for by name.
func named(scenario string) bool {
	return strings.Contains(flag.Lookup("test.run").Value.String(), scenario)
}
