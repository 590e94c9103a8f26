// Package api holds the tests of the CRDs against a real API server: what they refuse, in which words, and
// what they fill in. One row is one rule.
package api

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// config and kubeconfig are an administrator's.
var (
	config     *rest.Config
	kubeconfig []byte
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	var err error
	if config, err = env.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "no API server to test against (make test-api sets KUBEBUILDER_ASSETS): %v\n", err)
		return 1
	}
	kubeconfig = env.KubeConfig
	defer func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// object reads a manifest of one of our kinds and gives it a group version and a namespace.
func object(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	json, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatalf("manifest: %v\n%s", err, manifest)
	}
	o := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(json, &o.Object); err != nil {
		t.Fatalf("manifest: %v\n%s", err, manifest)
	}
	o.SetAPIVersion("cluster.refinery.dev/v1alpha1")
	o.SetNamespace("default")
	return o
}

// newClient fails on unknown fields, as kubectl does, so that a row with a typing error tests nothing by mistake.
func newClient(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return client.WithFieldValidation(c, "Strict")
}

// create makes an object and removes it at the end of the test.
func create(t *testing.T, c client.Client, o *unstructured.Unstructured) error {
	t.Helper()
	err := c.Create(context.Background(), o)
	if err == nil {
		t.Cleanup(func() { _ = c.Delete(context.Background(), o) })
	}
	return err
}

func master(spec string) string {
	return "kind: ClusterMaster\nmetadata: {name: alpha}\nspec: " + spec
}

func refinery(spec string) string {
	return "kind: Refinery\nmetadata: {name: press}\nspec: " + spec
}

// refusal is a manifest that breaks a rule, and what the API server says about it.
type refusal struct{ rule, manifest, message string }

var long = strings.Repeat("a", 64)

// numbered are so many words with a number behind each.
func numbered(word string, count int) string {
	words := make([]string, count)
	for i := range words {
		words[i] = fmt.Sprintf("%s%d", word, i)
	}
	return strings.Join(words, ", ")
}

func protocolRefusals() []refusal {
	return []refusal{
		{"accepted versions are a constraint", master("{protocol: {acceptedVersions: 'one;two'}}"), "must be a semver constraint, for example '>=0.1.0 <1.0.0'"},
		{"accepted versions are bounded", master("{protocol: {acceptedVersions: '" + strings.Repeat("1", 257) + "'}}"), "may not be more than 256"},
		{"at least one type", master("{protocol: {acceptedTypes: []}}"), "should have at least 1 items"},
		{"types are not empty", master("{protocol: {acceptedTypes: ['']}}"), "should be at least 1 chars long"},
		{"types are a set", master("{protocol: {acceptedTypes: [a, a]}}"), "Duplicate value"},
		{"handshake timeout", master("{protocol: {handshakeTimeoutSeconds: 121}}"), "should be less than or equal to 120"},
		{"alive timeout against interval", master("{protocol: {aliveIntervalSeconds: 20, aliveTimeoutSeconds: 30}}"), "aliveTimeoutSeconds must be at least twice aliveIntervalSeconds"},
		{"connections of an address", master("{protocol: {maxHandshakesPerSource: 0}}"), "should be greater than or equal to 1"},
		{"connections of an address are bounded", master("{protocol: {maxHandshakesPerSource: 8193}}"), "should be less than or equal to 8192"},
		{"sessions", master("{protocol: {maxSessions: 0}}"), "should be greater than or equal to 1"},
		{"the form of payloads", master("{protocol: {payloadForm: XML}}"), `supported values: "JSON", "Literal"`},
	}
}

func masterRefusals() []refusal {
	return []refusal{
		{"master name is a service name", "kind: ClusterMaster\nmetadata: {name: 0alpha}\nspec: {}", "beginning with a letter"},
		{"master name leaves room for suffixes", "kind: ClusterMaster\nmetadata: {name: " + long[:49] + "}\nspec: {}", "at most 48"},
		{"master replicas minimum", master("{replicas: -1}"), "should be greater than or equal to 0"},
		{"master replicas maximum", master("{replicas: 10}"), "should be less than or equal to 9"},
		{"as many pods as can be replaced", master("{strategy: {maxSurge: 0, maxUnavailable: 0%}}"), "no pod could ever be replaced"},
		{"a rollout that could end", master("{minReadySeconds: 60, progressDeadlineSeconds: 60}"), "every rollout would count as failed"},
		{"transport", master("{security: {transport: QUIC}}"), `supported values: "MutualTLS", "ServerTLS", "Plaintext"`},
		{"issued certificates need mutual TLS", master("{security: {transport: Plaintext}}"), "set transport: MutualTLS, or authentication: SharedCertificate"},
		{"an overlap of security is a duration", master("{security: {overlap: soon}}"), "must be hours, minutes and seconds"},
		{"issued certificates need mutual TLS, not server TLS", master("{security: {transport: ServerTLS}}"), "set transport: MutualTLS, or authentication: SharedCertificate"},
		{"shared certificate only where it is used", master("{certificates: {shared: {secretRef: {name: s}}}}"), "remove it, or set security.authentication"},
		{"certificate duration", master("{certificates: {duration: 1 day}}"), "must be hours, minutes and seconds, for example '2160h', '90m' or '1h30m'"},
		{"certificate duration is not empty", master("{certificates: {duration: ''}}"), "must be hours, minutes and seconds"},
		{"certificate duration is long enough", master("{certificates: {duration: 59s}}"), "duration must be at least 1m"},
		{"certificate duration is not too long", master("{certificates: {duration: 1000000h}}"), "must be hours, minutes and seconds"},
		{"renewal", master("{certificates: {renewBefore: -1h}}"), "must be hours, minutes and seconds, for example '720h'"},
		{"renewal before the end", master("{certificates: {renewBefore: 0s}}"), "renewBefore must be longer than 0s"},
		{"renewal after the beginning", master("{certificates: {renewBefore: 2160h}}"), "renewBefore must be shorter than duration"},
		{"overlap", master("{certificates: {overlap: none}}"), "must be hours, minutes and seconds, for example '1h', '90m' or '0s'"},
		{"authority duration", master("{certificates: {caDuration: 10y}}"), "must be hours, minutes and seconds, for example '87600h'"},
		{"authority duration against certificates'", master("{certificates: {caDuration: 4319h59m59s}}"), "caDuration must be at least twice duration"},
		{"deletion policy", master("{certificates: {deletionPolicy: Orphan}}"), "Unsupported value: \"Orphan\""},
		{"one issuer at a time", master("{certificates: {issuerRef: {name: plant}, authority: {secretRef: {name: plant-ca}}}}"), "issuerRef has cert-manager issue from its issuer, authority has the operator issue from a Secret; remove one of them"},
		{"an issuer has a name", master("{certificates: {issuerRef: {kind: ClusterIssuer}}}"), "spec.certificates.issuerRef.name: Required value"},
		{"kinds of keys", master("{certificates: {privateKey: {algorithm: DSA}}}"), `supported values: "ECDSA", "RSA", "Ed25519"`},
		{"ECDSA has its sizes", master("{certificates: {privateKey: {size: 2048}}}"), "spec.certificates.privateKey: Invalid value: a key with algorithm ECDSA has size 256 or 384; leave size out for 256"},
		{"ECDSA has those that are used", master("{certificates: {privateKey: {algorithm: ECDSA, size: 521}}}"), "has size 256 or 384"},
		{"RSA has its sizes", master("{certificates: {privateKey: {algorithm: RSA, size: 1024}}}"), "a key with algorithm RSA has size 2048, 3072 or 4096; leave size out for 3072"},
		{"Ed25519 has one size", master("{certificates: {privateKey: {algorithm: Ed25519, size: 256}}}"), "keys with algorithm Ed25519 have one size; leave size out"},
		{"DNS names are names", master("{certificates: {dnsNames: [alpha.example.com, Alpha.example.com]}}"), "spec.certificates.dnsNames[1]: Invalid value: \"Alpha.example.com\": must be a DNS name in lower case, for example 'alpha.example.com' or '*.example.com'"},
		{"DNS names have their wildcard first", master("{certificates: {dnsNames: [alpha.*.com]}}"), "must be a DNS name in lower case"},
		{"DNS names are no wildcard for everything", master("{certificates: {dnsNames: ['*']}}"), "must be a DNS name in lower case"},
		{"DNS names have labels of 63", master("{certificates: {dnsNames: [" + long + ".example.com]}}"), "must be a DNS name in lower case"},
		{"DNS names are no addresses", master("{certificates: {dnsNames: [192.0.2.10]}}"), "is an IP address; write it into ipAddresses"},
		{"DNS names are a set", master("{certificates: {dnsNames: [a, a]}}"), "Duplicate value"},
		{"DNS names are bounded", master("{certificates: {dnsNames: [" + numbered("a", 33) + "]}}"), "must have at most 32 items"},
		{"IP addresses are addresses", master("{certificates: {ipAddresses: [alpha]}}"), "must be an IP address in its shortest form, for example '192.0.2.10' or '2001:db8::10'"},
		{"IP addresses are short", master("{certificates: {ipAddresses: ['2001:0db8::10']}}"), "must be an IP address in its shortest form"},
		{"IP addresses have no mask", master("{certificates: {ipAddresses: [192.0.2.10/24]}}"), "must be an IP address in its shortest form"},
		{"IP addresses are bounded", master("{certificates: {ipAddresses: [" + numbered("192.0.2.", 17) + "]}}"), "must have at most 16 items"},
		{"secret names", master("{certificates: {authority: {secretRef: {name: Not_A_Name}}}}"), "must be the name of an object in this namespace"},
		{"upstream names", master("{upstreams: [{name: East, address: 'a:1'}]}"), "must be a lower-case label such as 'east'"},
		{"upstream names are unique", master("{upstreams: [{name: e, address: 'a:1'}, {name: e, address: 'b:1'}]}"), "Duplicate value"},
		{"upstream needs a target", master("{upstreams: [{name: e}]}"), "give either address (host:port) or service (name and port)"},
		{"upstream has one target", master("{upstreams: [{name: e, address: 'a:1', service: {name: s, port: 1}}]}"), "not both and not none"},
		{"upstream address has a port", master("{upstreams: [{name: e, address: ingest}]}"), "must be host:port with a port from 1 to 65535"},
		{"upstream port is not 0", master("{upstreams: [{name: e, address: 'ingest:0'}]}"), "must be host:port with a port from 1 to 65535"},
		{"upstream port is not too high", master("{upstreams: [{name: e, address: 'ingest:70000'}]}"), "must be host:port with a port from 1 to 65535"},
		{"upstream weight", master("{upstreams: [{name: e, address: 'a:1', weight: -1}]}"), "should be greater than or equal to 0"},
	}
}

func refineryRefusals() []refusal {
	return []refusal{
		{"refinery name", "kind: Refinery\nmetadata: {name: 9press}\nspec: {masterRef: {name: alpha}}", "beginning with a letter"},
		{"refinery name leaves room for suffixes", "kind: Refinery\nmetadata: {name: " + long[:53] + "}\nspec: {masterRef: {name: alpha}}", "at most 52"},
		{"refinery needs a master", refinery("{}"), "spec.masterRef: Required value"},
		{"master reference is not empty", refinery("{masterRef: {name: ''}}"), "should be at least 1 chars long"},
		{"refinery replicas minimum", refinery("{masterRef: {name: alpha}, replicas: -1}"), "should be greater than or equal to 0"},
		{"refinery replicas maximum", refinery("{masterRef: {name: alpha}, replicas: 10001}"), "should be less than or equal to 10000"},
		{"refinery grace minimum", refinery("{masterRef: {name: alpha}, readinessGraceSeconds: -1}"), "should be greater than or equal to 0"},
		{"refinery grace maximum", refinery("{masterRef: {name: alpha}, readinessGraceSeconds: 601}"), "should be less than or equal to 600"},
		{"placement", refinery("{masterRef: {name: alpha}, placement: Elsewhere}"), `supported values: "InCluster", "External"`},
		{"external has no template", refinery("{masterRef: {name: alpha}, placement: External, template: {}}"), "remove template, or set placement: InCluster"},
		{"external has no ports", refinery("{masterRef: {name: alpha}, placement: External, ports: [{name: http, containerPort: 80}]}"), "remove ports, or set placement: InCluster"},
		{"type", refinery("{masterRef: {name: alpha}, type: 'a b'}"), "must be letters, digits"},
		{"version", refinery("{masterRef: {name: alpha}, version: latest}"), "must be a semantic version such as '0.1.0'"},
		{"access", refinery("{masterRef: {name: alpha}, access: Maybe}"), `supported values: "Allowed", "Suspended"`},
		{"port names", refinery("{masterRef: {name: alpha}, ports: [{name: HTTP, containerPort: 80}]}"), "must be at most 15 lower-case letters"},
		{"port names are unique", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 80}, {name: a, containerPort: 81}]}"), "Duplicate value"},
		{"port numbers are unique", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 80, protocol: TCP}, {name: b, containerPort: 81, port: 80}]}"), "two ports have the same number and protocol"},
		{"port range", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 65536}]}"), "should be less than or equal to 65535"},
		{"port of the agent", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 8081}]}"), "a containerPort is the agent's: agent.httpPort (default 8081) or agent.healthPort (default 8082)"},
		{"other port of the agent", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 8082}]}"), "a containerPort is the agent's: agent.httpPort (default 8081) or agent.healthPort (default 8082)"},
		{"port protocol", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 80, protocol: SCTP}]}"), `supported values: "TCP", "UDP"`},
		{"template is an object", refinery("{masterRef: {name: alpha}, template: pod}"), "must be of type object"},
		{"a ban names something", refinery("{masterRef: {name: alpha}, banned: [{reason: stolen}]}"), "a ban names either an id or a certificate"},
		{"a ban names one thing", refinery("{masterRef: {name: alpha}, banned: [{reason: stolen, id: a, certificate: " + strings.Repeat("a", 64) + "}]}"), "a ban names either an id or a certificate"},
		{"a ban names a fingerprint", refinery("{masterRef: {name: alpha}, banned: [{reason: stolen, certificate: AA:BB}]}"), "must be a fingerprint"},
		{"a ban has a reason", refinery("{masterRef: {name: alpha}, banned: [{id: a}]}"), "banned[0].reason: Required value"},
		{"nodes selects something", refinery("{masterRef: {name: alpha}, nodes: {}}"), "nodes selects nothing; write ids, prefixes, types or rest: true"},
		{"an empty list of nodes selects nothing", refinery("{masterRef: {name: alpha}, nodes: {ids: [], rest: false}}"), "nodes selects nothing"},
		{"ids of nodes are printable", refinery(`{masterRef: {name: alpha}, nodes: {ids: ["a\nb"]}}`), "must be printable: letters"},
		{"a prefix of nodes is not empty", refinery("{masterRef: {name: alpha}, nodes: {prefixes: ['']}}"), "should be at least 1 chars long"},
		{"ids of nodes are a set", refinery("{masterRef: {name: alpha}, nodes: {ids: [a, a]}}"), "Duplicate value"},
		{"ids of nodes are bounded", refinery("{masterRef: {name: alpha}, nodes: {ids: [" + numbered("n", 257) + "]}}"), "must have at most 256 items"},
	}
}

func TestSpecsAreRefusedWithAMessageThatSaysWhatToWriteInstead(t *testing.T) {
	c := newClient(t)
	for _, row := range slices.Concat(protocolRefusals(), masterRefusals(), serviceRefusals(), refineryRefusals(), podRefusals(), volumeRefusals()) {
		t.Run(row.rule, func(t *testing.T) {
			err := create(t, c, object(t, row.manifest))
			if err == nil {
				t.Fatalf("accepted:\n%s", row.manifest)
			}
			if !strings.Contains(err.Error(), row.message) {
				t.Errorf("refused, but not in these words: %s\ngot: %v", row.message, err)
			}
		})
	}
}

func TestSpecsThatAreGoodAreAccepted(t *testing.T) {
	c := newClient(t)
	for name, manifest := range map[string]string{
		"a selection of nodes":                  refinery("{masterRef: {name: alpha}, nodes: {ids: [5f0c9a52-7d0e, 'é 1 <+>'], prefixes: [n-], types: [smelter], rest: true}}"),
		"bans":                                  refinery("{masterRef: {name: alpha}, banned: [{id: 'press/a', reason: stolen}, {certificate: " + strings.Repeat("0a", 32) + ", reason: stolen, until: '2030-01-01T00:00:00Z'}]}"),
		"upgrade windows":                       master("{upgradeWindows: [{days: [Saturday, Sunday], start: '02:30', duration: 3h30m, timeZone: Europe/Berlin}, {start: '00:00', duration: 24h}]}"),
		"volumes of a master":                   master("{template: {volumes: [{name: a, mountPath: /mnt/a.b/c-d, configMap: {name: c}}, {name: b, mountPath: /etcetera, emptyDir: {}}]}}"),
		"plain protocol":                        master("{security: {transport: Plaintext, authentication: SharedCertificate}, certificates: {shared: {secretRef: {name: s}}}}"),
		"IPv6 upstream":                         master("{upstreams: [{name: e, address: '[2001:db8::1]:34307', weight: 0}]}"),
		"service upstream":                      master("{upstreams: [{name: e, service: {name: ingest, port: 34307}, types: [refinery]}]}"),
		"constraint with or":                    master("{protocol: {acceptedVersions: '^0.1.0 || >=1.2.0 <2'}}"),
		"an issuer of another group":            master("{certificates: {issuerRef: {name: plant, kind: StepIssuer, group: certmanager.step.sm}}}"),
		"short certificates":                    master("{certificates: {duration: 1m, overlap: 0s, caDuration: 2m}}"),
		"long certificates":                     master("{certificates: {duration: 499999h59m59s, renewBefore: 499999h59m, caDuration: 999999h59m59s}}"),
		"certificates of an hour and a half":    master("{certificates: {duration: 1h30m0s, renewBefore: 30m}}"),
		"names and addresses":                   master("{certificates: {dnsNames: [localhost, '*.example.com', xn--bcher-kva.example], ipAddresses: [192.0.2.10, '2001:db8::10']}}"),
		"a key of the default kind":             master("{certificates: {privateKey: {}}}"),
		"a long key of ECDSA":                   master("{certificates: {privateKey: {size: 384}}}"),
		"a key of RSA":                          master("{certificates: {privateKey: {algorithm: RSA, size: 4096}}}"),
		"a key of Ed25519":                      master("{certificates: {privateKey: {algorithm: Ed25519}}}"),
		"a budget in pods":                      refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: 3}}"),
		"a budget as a share":                   master("{podDisruptionBudget: {maxUnavailable: '100%'}}"),
		"other ports for the agent":             refinery("{masterRef: {name: alpha}, agent: {httpPort: 9081, healthPort: 9082, logLevel: debug, env: [{name: GOMAXPROCS, value: '1'}]}, ports: [{name: a, containerPort: 8081, port: 80}]}"),
		"a relay":                               refinery("{masterRef: {name: alpha}, agent: {relay: {port: 8083}}, ports: [{name: a, containerPort: 80}]}"),
		"a relay on the agent's former port":    refinery("{masterRef: {name: alpha}, agent: {httpPort: 9081, relay: {port: 8081, drainSeconds: 0, maxConnections: 65536, idleTimeoutSeconds: 86400}}}"),
		"one number, two protocols":             refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 53}, {name: b, containerPort: 53, protocol: UDP}]}"),
		"a headless Service":                    refinery("{masterRef: {name: alpha}, service: {headless: true}, ports: [{name: a, containerPort: 80}]}"),
		"a slow rollout":                        refinery("{masterRef: {name: alpha}, strategy: {maxSurge: 0, maxUnavailable: 50%}, minReadySeconds: 600, progressDeadlineSeconds: 601}"),
		"a Service with all its fields":         master("{service: {type: LoadBalancer, nodePort: 30308, externalTrafficPolicy: Local, loadBalancerClass: example.com/vip, loadBalancerSourceRanges: [192.0.2.0/24, 'fd00::/8'], ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4], proxyProtocol: {port: 443, trustedNetworks: [192.0.2.0/24, 'fd00::/8']}}}"),
		"a Service of one family by preference": master("{service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4]}}"),
		"a policy by default":                   master("{networkPolicy: {}}"),
		"a policy with choices":                 master("{networkPolicy: {nodes: [{ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8:1::/48']}}, {podSelector: {}}], metrics: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {}}], apiServer: [{ipBlock: {cidr: 192.0.2.1/32}}], apiServerPort: 6443}}"),
		"a budget by default":                   refinery("{masterRef: {name: alpha}, podDisruptionBudget: {}}"),
		"no replicas":                           refinery("{masterRef: {name: alpha}, replicas: 0}"),
		"no grace":                              refinery("{masterRef: {name: alpha}, readinessGraceSeconds: 0}"),
		"prerelease version":                    refinery("{masterRef: {name: alpha}, version: 1.2.3-rc.1+build.5}"),
		"any pod template":                      refinery("{masterRef: {name: alpha}, template: {spec: {containers: [{name: app, image: app:1, anything: {goes: here}}]}}}"),
		"external with secret":                  refinery("{masterRef: {name: alpha}, placement: External, certificateSecretRef: {name: own}}"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := create(t, c, object(t, manifest)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	c := newClient(t)
	for _, row := range []struct {
		manifest string
		spec     string
	}{
		{"kind: ClusterMaster\nmetadata: {name: alpha}\nspec: {upstreams: [{name: e, address: 'e:1'}]}", `
upstreams: [{name: e, address: 'e:1'}]
replicas: 2
service: {type: ClusterIP, port: 34308}
protocol: {acceptedTypes: [refinery], handshakeTimeoutSeconds: 10, aliveIntervalSeconds: 10, aliveTimeoutSeconds: 35, maxSessions: 20000, maxHandshakesPerSource: 32}
security: {transport: MutualTLS, authentication: IssuedCertificate, overlap: 1h}
apiServerOutageSeconds: 3600
maxConcurrentUpgrades: 5
certificates: {duration: 2160h, overlap: 1h, caDuration: 87600h, deletionPolicy: Retain}`},
		{refinery("{masterRef: {name: alpha}, ports: [{name: http, containerPort: 8080}]}"), `
masterRef: {name: alpha}
replicas: 1
placement: InCluster
type: refinery
access: Allowed
ports: [{name: http, containerPort: 8080}]`},
	} {
		o := object(t, row.manifest)
		t.Run(o.GetKind(), func(t *testing.T) {
			if err := create(t, c, o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, "spec: "+indent(row.spec)).Object["spec"], o.Object["spec"]); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

// indent makes the lines of a block a value of the key before it.
func indent(block string) string { return strings.ReplaceAll(block, "\n", "\n  ") }

func TestMasterReferenceCannotBeChanged(t *testing.T) {
	c := newClient(t)
	o := object(t, refinery("{masterRef: {name: alpha}}"))
	if err := create(t, c, o); err != nil {
		t.Fatal(err)
	}
	set(t, o, "beta", "spec", "masterRef", "name")
	err := c.Update(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "masterRef cannot be changed") {
		t.Errorf("got %v", err)
	}
}

func TestEpochsOnlyGrow(t *testing.T) {
	c := newClient(t)
	for _, row := range []struct {
		manifest string
		holder   string
		message  string
		// refused are epochs that cannot follow 5, besides the smaller.
		refused map[int64]string
	}{
		{refinery("{masterRef: {name: alpha}}"), "reporter", "reporter.epoch only grows", map[int64]string{-1: "greater than or equal to 0", 1e9 + 1: "less than or equal to 1000000000"}},
		{master("{}"), "active", "active.epoch only grows", map[int64]string{0: "active.epoch only grows", 1006: "at most 1000 at once", 1e9 + 1: "less than or equal to 1000000000"}},
	} {
		o := object(t, row.manifest)
		t.Run(o.GetKind(), func(t *testing.T) {
			if err := create(t, c, o); err != nil {
				t.Fatal(err)
			}
			write := func(epoch int64) error {
				holder := map[string]any{"pod": "alpha-0", "epoch": epoch}
				if row.holder == "active" {
					holder["since"] = "2026-01-01T00:00:00Z"
				}
				set(t, o, holder, "status", row.holder)
				return c.Status().Update(context.Background(), o)
			}
			for _, epoch := range []int64{4, 4, 5} {
				if err := write(epoch); err != nil {
					t.Fatalf("epoch %d: %v", epoch, err)
				}
			}
			if err := write(4); err == nil || !strings.Contains(err.Error(), row.message) {
				t.Errorf("a deposed master's write: got %v", err)
			}
			for epoch, message := range row.refused {
				if err := write(epoch); err == nil || !strings.Contains(err.Error(), message) {
					t.Errorf("epoch %d: got %v", epoch, err)
				}
			}
			if row.holder == "reporter" {
				if err := write(0); err != nil {
					t.Errorf("the operator takes an epoch back: %v", err)
				}
			}
			if err := c.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			unstructured.RemoveNestedField(o.Object, "status", row.holder)
			if err := c.Status().Update(context.Background(), o); err == nil {
				t.Error("the fencing token was removed")
			}
		})
	}
}

func set(t *testing.T, o *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}
