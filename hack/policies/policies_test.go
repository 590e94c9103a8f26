package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/kube-network-policies/pkg/network"
)

// host is who takes part: a pod, or with no namespace an address outside of the cluster.
type host struct {
	address, namespace string
	labels             map[string]string
}

func labels(name, instance, component string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": instance, "app.kubernetes.io/component": component}
}

var hosts = map[string]host{
	"operator":      {"10.0.0.1", "refinery-system", labels("refinery-operator", "refinery-operator", "operator")},
	"master":        {"10.0.0.2", "plant", labels("refinery-operator-master", "alpha", "master")},
	"standby":       {"10.0.0.3", "plant", labels("refinery-operator-master", "alpha", "master")},
	"other master":  {"10.0.0.4", "plant", labels("refinery-operator-master", "beta", "master")},
	"node":          {"10.0.0.5", "plant", labels("refinery", "press", "refinery")},
	"app":           {"10.0.0.6", "plant", map[string]string{"app": "shop"}},
	"database":      {"10.0.0.7", "data", map[string]string{"app": "database"}},
	"Prometheus":    {"10.0.0.8", "monitoring", map[string]string{"app": "prometheus"}},
	"name server":   {"10.0.0.9", "kube-system", map[string]string{"k8s-app": "kube-dns"}},
	"API server":    {address: "203.0.113.10"},
	"external node": {address: "192.0.2.5"},
	"excepted":      {address: "192.0.2.200"},
	"stranger":      {address: "198.51.100.9"},
}

// connection is one line of the list in docs/network.md, or one that is not in it.
type connection struct {
	from, to string
	protocol corev1.Protocol
	port     int
	allowed  bool
}

func TestWhatIsListedIsLetThroughAndNothingElse(t *testing.T) {
	needed := []connection{
		{"master", "API server", "TCP", 6443, true},
		{"standby", "API server", "TCP", 6443, true},
		{"master", "standby", "TCP", 34309, true},
		{"standby", "master", "TCP", 34309, true},
		{"master", "name server", "UDP", 53, true},
		{"master", "name server", "TCP", 53, true},
		{"master", "name server", "UDP", 5353, true},
		{"node", "master", "TCP", 34308, true},
		{"node", "name server", "UDP", 53, true},
		{"other master", "master", "TCP", 34309, false},
		{"node", "master", "TCP", 34309, false},
		{"node", "master", "TCP", 8080, false},
		{"stranger", "master", "TCP", 34309, false},
		{"stranger", "master", "TCP", 8080, false},
		{"master", "stranger", "UDP", 123, false},
		{"master", "node", "UDP", 8080, false},
	}
	const denied, nodes = "docs:default-deny", "docs:refineries"
	for name, test := range map[string]struct {
		policies []string
		also     []connection
	}{
		"with no choices": {[]string{denied, nodes, "master_network_policy.yaml"}, []connection{
			{"external node", "master", "TCP", 34308, true},
			{"stranger", "master", "TCP", 34308, true},
			{"app", "master", "TCP", 34308, false}, // the default-deny holds the other end
			{"Prometheus", "master", "TCP", 8080, false},
			{"node", "database", "TCP", 5432, false}, // docs/network.md leaves the workload's own traffic to its owner
		}},
		"with all choices": {[]string{denied, nodes, "master_network_policy_chosen.yaml"}, []connection{
			{"external node", "master", "TCP", 34308, true},
			{"excepted", "master", "TCP", 34308, false},
			{"stranger", "master", "TCP", 34308, false},
			{"Prometheus", "master", "TCP", 8080, true},
			{"database", "master", "TCP", 8080, false},
			{"master", "stranger", "TCP", 6443, false},
			{"master", "API server", "TCP", 443, false},
		}},
		"with no default-deny": {[]string{"master_network_policy_chosen.yaml"}, []connection{
			{"node", "database", "TCP", 5432, true},
			{"app", "node", "TCP", 8080, true},
			{"app", "database", "TCP", 5432, true},
			{"other master", "API server", "TCP", 6443, true},
			{"app", "master", "TCP", 34308, false},
		}},
	} {
		t.Run(name, func(t *testing.T) { check(t, test.policies, append(needed, test.also...)) })
	}
}

func TestADefaultDenyAloneCutsMastersAndNodesOff(t *testing.T) {
	check(t, []string{"docs:default-deny"}, []connection{
		{"master", "API server", "TCP", 6443, false},
		{"master", "standby", "TCP", 34309, false},
		{"master", "name server", "UDP", 53, false},
		{"node", "master", "TCP", 34308, false},
		{"stranger", "master", "TCP", 34308, false},
	})
}

func TestTheChartLetsTheOperatorReachWhatItNeeds(t *testing.T) {
	needed := []connection{
		{"operator", "API server", "TCP", 6443, true},
		{"operator", "name server", "UDP", 53, true},
		{"stranger", "operator", "TCP", 8443, false},
		{"Prometheus", "operator", "TCP", 8081, false},
		{"operator", "stranger", "UDP", 123, false},
	}
	check(t, []string{"chart:networkPolicy.enabled=true"}, append(needed,
		connection{"Prometheus", "operator", "TCP", 8443, false}))
	check(t, []string{"chart:networkPolicy.enabled=true,networkPolicy.apiServerPort=6443,networkPolicy.apiServer[0].ipBlock.cidr=203.0.113.0/24," +
		"networkPolicy.metrics[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring"}, append(needed,
		connection{"Prometheus", "operator", "TCP", 8443, true},
		connection{"database", "operator", "TCP", 8443, false},
		connection{"operator", "stranger", "TCP", 6443, false},
		connection{"operator", "API server", "TCP", 443, false}))
}

// check evaluates connections under policies.
func check(t *testing.T, policies []string, connections []connection) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(&rest.Config{}) // never connected: the informers are filled here
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(clients, 0)
	evaluation, err := engine(factory, "machine")
	if err != nil {
		t.Fatal(err)
	}
	add := func(store interface{ Add(any) error }, object any) {
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	for name, h := range hosts {
		if h.namespace == "" {
			continue
		}
		add(factory.Core().V1().Namespaces().Informer().GetIndexer(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: h.namespace, Labels: map[string]string{corev1.LabelMetadataName: h.namespace}}})
		add(factory.Core().V1().Pods().Informer().GetIndexer(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: strings.ReplaceAll(name, " ", "-"), Labels: h.labels},
			Spec:       corev1.PodSpec{NodeName: "machine"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: h.address, PodIPs: []corev1.PodIP{{IP: h.address}}}})
	}
	for _, policy := range policies {
		add(factory.Networking().V1().NetworkPolicies().Informer().GetIndexer(), read(t, policy))
	}
	for _, c := range connections {
		packet := network.Packet{Family: corev1.IPv4Protocol, Proto: c.protocol, SrcPort: 40000, DstPort: c.port,
			SrcIP: net.ParseIP(hosts[c.from].address), DstIP: net.ParseIP(hosts[c.to].address)}
		if allowed, err := evaluation.EvaluatePacket(t.Context(), &packet); err != nil || allowed != c.allowed {
			t.Errorf("%s to %s at %s %d: let through is %t, want %t (%v)", c.from, c.to, c.protocol, c.port, allowed, c.allowed, err)
		}
	}
}

// read returns a NetworkPolicy: "docs:NAME" is one of docs/network.md, "chart:VALUES" the one that the chart makes of values, and
// anything else a file of what the operator makes.
func read(t *testing.T, source string) *networkingv1.NetworkPolicy {
	t.Helper()
	where, what, special := strings.Cut(source, ":")
	switch {
	case !special:
		return find(t, file(t, "../../internal/resource/testdata/"+source), "alpha")
	case where == "docs":
		return find(t, blocks(file(t, "../../docs/network.md")), what)
	}
	var complaint bytes.Buffer
	command := exec.Command(os.Getenv("HELM"), "template", "refinery-operator", "../../charts/refinery-operator", "--namespace", "refinery-system", "--set", what)
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		t.Fatalf("helm, which HELM names: %v\n%s", err, complaint.String())
	}
	return find(t, string(out), "refinery-operator")
}

func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the blocks of YAML of a page, as one stream.
func blocks(page string) string {
	var stream strings.Builder
	for _, block := range strings.Split(page, "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		stream.WriteString("---\n" + text)
	}
	return stream.String()
}

// find returns the NetworkPolicy of a name in a stream of manifests.
func find(t *testing.T, manifests, name string) *networkingv1.NetworkPolicy {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		policy := &networkingv1.NetworkPolicy{}
		if err := decoder.Decode(policy); errors.Is(err, io.EOF) {
			t.Fatalf("there is no NetworkPolicy %s in\n%s", name, manifests)
		} else if err != nil {
			continue // of another kind
		}
		if policy.Kind == "NetworkPolicy" && policy.Name == name {
			return policy
		}
	}
}
