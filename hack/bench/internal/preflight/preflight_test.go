package preflight

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLookSaysWhatToStop(t *testing.T) {
	const entries, limit = "sys/net/netfilter/nf_conntrack_count", "sys/net/netfilter/nf_conntrack_max"
	for _, test := range []struct {
		name    string
		proc    map[string]string
		tracked int // entries of the table for each connection over loopback
		says    []string
	}{
		{"a quiet machine", map[string]string{"1/comm": "init\n", "1/environ": "A=b\x00"}, 0, nil},
		{"the local cluster", map[string]string{"12/comm": "etcd\n", "12/environ": "A=b\x00REFINERY_CLUSTER_ROOT=/var/lib/refinery-cluster\x00"}, 0,
			[]string{"make cluster-down", "make demo-down"}},
		{"a process that only names the variable", map[string]string{"12/comm": "bash\n", "12/environ": "A=REFINERY_CLUSTER_ROOT=/var/lib/refinery-cluster\x00"}, 0, nil},
		{"another node", map[string]string{"7/comm": "kubelet\n", "8/comm": "kube-proxy\n"}, 0,
			[]string{"kubelet (process 7) and kube-proxy (process 8)", "stop"}},
		{"a table that is nearly full", map[string]string{entries: "200000\n", limit: "262144\n"}, 0,
			[]string{"nearly full, with 200000 of 262144", "sysctl -w net.netfilter.nf_conntrack_max=4000000"}},
		{"loopback that is tracked", map[string]string{entries: "10\n", limit: "262144\n"}, 1,
			[]string{"tracks connections over loopback", "262144", "Docker"}},
		{"loopback that is not tracked", map[string]string{entries: "10\n", limit: "262144\n"}, 0, nil},
		{"a table that has room", map[string]string{entries: "10\n", limit: "8000000\n"}, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc := fstest.MapFS{}
			for name, content := range test.proc {
				proc[name] = &fstest.MapFile{Data: []byte(content)}
			}
			err := Look(proc, func(connections int) error {
				proc[entries] = &fstest.MapFile{Data: fmt.Append(nil, 10+test.tracked*connections)}
				return nil
			})
			if (err == nil) != (test.says == nil) {
				t.Fatalf("Look returned %v", err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// The local cluster is a module of its own, whose names cannot be imported.
func TestTheLocalClusterStillMarksItsProcessesSo(t *testing.T) {
	for file, part := range map[string]string{
		"layout.go":  `Root = "` + clusterRoot + `"`,
		"process.go": `rootVariable = "` + strings.TrimSuffix(clusterVariable, "="+clusterRoot) + `"`,
	} {
		content, err := os.ReadFile("../../../cluster/internal/cluster/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), part) {
			t.Errorf("%s does not contain %s", file, part)
		}
	}
}

func TestConnectMakesConnections(t *testing.T) {
	if err := Connect(3); err != nil {
		t.Error(err)
	}
}
