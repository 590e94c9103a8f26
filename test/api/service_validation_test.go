package api

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "sigs.k8s.io/yaml"
)

// serviceRefusals are about the Service of a ClusterMaster.
func serviceRefusals() []refusal {
	return []refusal{
		{"service type", master("{service: {type: ExternalName}}"), `supported values: "ClusterIP", "NodePort", "LoadBalancer"`},
		{"service port minimum", master("{service: {port: 0}}"), "should be greater than or equal to 1"},
		{"service port maximum", master("{service: {port: 65536}}"), "should be less than or equal to 65535"},
		{"two ports", master("{service: {port: 34310, proxyProtocol: {trustedNetworks: [192.0.2.0/24]}}}"), "proxyProtocol.port must differ from port"},
		{"PROXY protocol is not for everybody", master("{service: {proxyProtocol: {trustedNetworks: [192.0.2.0/24, 0.0.0.0/0]}}}"), "must not be everybody, as 0.0.0.0/0 and ::/0 are"},
		{"PROXY protocol is not for everybody by IPv6", master("{service: {proxyProtocol: {trustedNetworks: ['::/0']}}}"), "list the networks of the load balancers"},
		{"PROXY protocol is for somebody", master("{service: {proxyProtocol: {trustedNetworks: []}}}"), "should have at least 1 items"},
		{"PROXY protocol is for networks", master("{service: {proxyProtocol: {trustedNetworks: [balancer]}}}"), "must be an address and a length"},
		{"no external traffic without a way in", master("{service: {externalTrafficPolicy: Local}}"), "a Service of type ClusterIP takes none; set type: NodePort or LoadBalancer, or remove externalTrafficPolicy"},
		{"external traffic policies", master("{service: {type: NodePort, externalTrafficPolicy: Near}}"), `supported values: "Cluster", "Local"`},
		{"no node port without a way in", master("{service: {type: ClusterIP, nodePort: 30308}}"), "a Service of type ClusterIP has no nodePort; set type: NodePort or LoadBalancer, or remove nodePort"},
		{"node port range", master("{service: {type: NodePort, nodePort: 65536}}"), "should be less than or equal to 65535"},
		{"no class without a load balancer", master("{service: {type: NodePort, loadBalancerClass: vip}}"), "set type: LoadBalancer, or remove loadBalancerClass"},
		{"a class is a name", master("{service: {type: LoadBalancer, loadBalancerClass: 'a/b/c'}}"), "must be a name as of a label, such as 'internal-vip' or 'example.com/internal-vip'"},
		{"no source ranges without a load balancer", master("{service: {type: NodePort, loadBalancerSourceRanges: [192.0.2.0/24]}}"), "set type: LoadBalancer, or remove loadBalancerSourceRanges"},
		{"source ranges are ranges", master("{service: {type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.1/24]}}"), "must be an address and a length, of which no more bits are set than that"},
		{"source ranges are bounded", master("{service: {type: LoadBalancer, loadBalancerSourceRanges: [" + strings.Repeat("192.0.2.0/24, ", 64) + "192.0.2.0/24]}}"), "must have at most 64 items"},
		{"policies of families", master("{service: {ipFamilyPolicy: DualStack}}"), `supported values: "SingleStack", "PreferDualStack", "RequireDualStack"`},
		{"families", master("{service: {ipFamilies: [IPv5]}}"), `supported values: "IPv4", "IPv6"`},
		{"families differ", master("{service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv4]}}"), "the two ipFamilies must differ"},
		{"two families at most", master("{service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6, IPv4]}}"), "must have at most 2 items"},
		{"two families are dual-stack", master("{service: {ipFamilies: [IPv4, IPv6]}}"), "two ipFamilies need ipFamilyPolicy: PreferDualStack or RequireDualStack; set it, or remove one of them"},
		{"two families are not single-stack", master("{service: {ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]}}"), "two ipFamilies need ipFamilyPolicy"},
	}
}

func TestWhatKubernetesLetsNobodyChangeOfAServiceIsRefused(t *testing.T) {
	const two = "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6]"
	for name, row := range map[string]struct{ before, after, message string }{
		"another class":            {"type: LoadBalancer, loadBalancerClass: a", "type: LoadBalancer, loadBalancerClass: b", "set type: ClusterIP, and when the Service has it, set both again"},
		"a class":                  {"type: LoadBalancer", "type: LoadBalancer, loadBalancerClass: a", "set type: ClusterIP, and when the Service has it"},
		"a class no more":          {"type: LoadBalancer, loadBalancerClass: a", "type: LoadBalancer", "set type: ClusterIP, and when the Service has it"},
		"a class with its type":    {"type: NodePort", "type: LoadBalancer, loadBalancerClass: a", ""},
		"neither of them any more": {"type: LoadBalancer, loadBalancerClass: a", "type: NodePort", ""},
		"another first family":     {two, "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]", "keep it first"},
		"one family less":          {two, "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4]", "the second of the ipFamilies is given up with ipFamilyPolicy: SingleStack; set it too"},
		"one family":               {two, "ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]", ""},
		"a second family":          {"ipFamilies: [IPv4]", two, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			o := object(t, master("{service: {"+row.before+"}}"))
			if err := create(t, c, o); err != nil {
				t.Fatal(err)
			}
			after := map[string]any{}
			if err := utilyaml.Unmarshal([]byte("{"+row.after+"}"), &after); err != nil {
				t.Fatal(err)
			}
			if err := unstructured.SetNestedMap(o.Object, after, "spec", "service"); err != nil {
				t.Fatal(err)
			}
			switch err := c.Update(context.Background(), o); {
			case row.message == "" && err != nil:
				t.Error(err)
			case row.message != "" && (err == nil || !strings.Contains(err.Error(), row.message)):
				t.Errorf("got %v, want %s", err, row.message)
			}
		})
	}
}
