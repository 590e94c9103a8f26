package resource

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

var update = flag.Bool("update", false, "write testdata from what the builders make")

var (
	testImages = Images{Master: "example.com/master:1", Refinery: "example.com/refinery:1", PullPolicy: corev1.PullIfNotPresent}
	testPair   = pki.PEMPair{Certificate: []byte("certificate"), Key: []byte("key")}
	testBundle = []byte("bundle")
	testIssuer = v1alpha1.IssuerReference{Name: "plant", Kind: "Issuer", Group: "cert-manager.io"}
)

// testMaster has the defaults that the API server fills in, and then change.
func testMaster(change func(*v1alpha1.ClusterMaster)) *v1alpha1.ClusterMaster {
	m := &v1alpha1.ClusterMaster{}
	m.Namespace, m.Name, m.UID = "plant", "alpha", "uid-of-alpha"
	m.Spec.Replicas = ptr.To[int32](2)
	m.Spec.Service = v1alpha1.MasterService{Type: corev1.ServiceTypeClusterIP, Port: 34308}
	m.Spec.Protocol.AliveIntervalSeconds, m.Spec.Protocol.AliveTimeoutSeconds = 10, 35
	m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}
	if change != nil {
		change(m)
	}
	return m
}

func testRefinery(change func(*v1alpha1.Refinery)) *v1alpha1.Refinery {
	r := &v1alpha1.Refinery{}
	r.Namespace, r.Name, r.UID = "plant", "press", "uid-of-press"
	r.Spec.MasterRef.Name, r.Spec.Replicas, r.Spec.Type = "alpha", ptr.To[int32](3), "refinery"
	if change != nil {
		change(r)
	}
	return r
}

func targetService(m *v1alpha1.ClusterMaster) {
	m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "east", Address: "east:1"}, {Name: "west", Service: &v1alpha1.UpstreamService{Name: "west", Port: 1}}}
}

func withTemplate(template string) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) {
		raw, err := yaml.YAMLToJSON([]byte(template))
		if err != nil {
			panic(err)
		}
		r.Spec.Template = &runtime.RawExtension{Raw: raw}
	}
}

func shared(transport v1alpha1.Transport) func(*v1alpha1.ClusterMaster) {
	return func(m *v1alpha1.ClusterMaster) {
		m.Spec.Security = v1alpha1.SecuritySpec{Transport: transport, Authentication: v1alpha1.AuthenticationSharedCertificate}
	}
}

const workload = `
metadata:
  labels: {tier: back, app.kubernetes.io/name: mine}
  annotations: {note: kept}
spec:
  nodeSelector: {disk: fast}
  initContainers:
  - {name: prepare, image: example.com/prepare:1}
  - {name: refinery-agent, resources: {limits: {memory: 128Mi}}}
  containers:
  - name: app
    image: example.com/app:1
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    ports: [{containerPort: 8080}]
  - name: free
    image: example.com/free:1
    securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}
    volumeMounts: [{name: own, mountPath: /run/refinery/}]
  volumes: [{name: own, emptyDir: {}}]
`

func noGrace(r *v1alpha1.Refinery) { r.Spec.ReadinessGraceSeconds = ptr.To[int32](0) }

func TestBuildersMakeWhatTestdataShows(t *testing.T) {
	master, refinery := testMaster(nil), testRefinery(nil)
	deployment := func(object any, err error) any {
		if err != nil {
			t.Fatal(err)
		}
		return object
	}
	tests := map[string]any{
		"master_authority_secret":      MasterAuthoritySecret(master, pki.AuthorityFiles{Current: testPair}, AuthorityRecord{}),
		"master_certificate_secret":    MasterCertificateSecret(master, testPair, testBundle),
		"master_peer_secret":           MasterPeerSecret(master, pki.PEMPair{Certificate: []byte("certificate"), Key: []byte("key")}),
		"master_trust":                 MasterTrust(master, testBundle),
		"master_peer_service":          MasterPeerService(master),
		"master_shared_secret":         MasterSharedSecret(master, Shared{Certificate: []byte("bearer")}),
		"master_certificate":           MasterCertificate(master, testIssuer, "", 800*time.Hour),
		"master_certificate_named":     MasterCertificate(testMaster(nameMore), testIssuer, "example.test", 800*time.Hour),
		"refinery_certificate":         RefineryCertificate(refinery, master, testIssuer, 801*time.Hour),
		"master_service_account":       MasterServiceAccount(master),
		"master_role":                  MasterRole(master),
		"master_role_services":         MasterRole(testMaster(targetService)),
		"master_role_binding":          MasterRoleBinding(master),
		"master_lease":                 MasterLease(master),
		"master_service":               MasterService(master),
		"master_endpoint_slice":        MasterEndpointSlice(master, 0, discoveryv1.AddressTypeIPv6),
		"master_endpoint_slice_proxy":  MasterEndpointSlice(testMaster(chooseService), 1, discoveryv1.AddressTypeIPv4),
		"master_service_chosen":        MasterService(testMaster(chooseService)),
		"master_disruption_budget":     MasterDisruptionBudget(master),
		"master_network_policy":        MasterNetworkPolicy(testMaster(isolate)),
		"master_network_policy_chosen": MasterNetworkPolicy(testMaster(isolateMore)),
		"refinery_disruption_budget":   RefineryDisruptionBudget(testRefinery(evictHalf)),
		"master_deployment":            deployment(MasterDeployment(master, testImages)),
		"master_deployment_shared":     deployment(MasterDeployment(testMaster(shared(v1alpha1.TransportServerTLS)), testImages)),
		"master_deployment_chosen":     deployment(MasterDeployment(testMaster(choosePods), testImages)),
		"refinery_secret":              RefineryCertificateSecret(refinery, testPair, testBundle),
		"refinery_service_account":     RefineryServiceAccount(refinery),
		"refinery_service":             RefineryService(testRefinery(choosePorts)),
		"refinery_deployment":          deployment(RefineryDeployment(refinery, master, testImages)),
		"refinery_deployment_own":      deployment(RefineryDeployment(testRefinery(bringSecret), master, testImages)),
		"refinery_deployment_strict":   deployment(RefineryDeployment(testRefinery(noGrace), master, testImages)),
		"refinery_deployment_shared":   deployment(RefineryDeployment(refinery, testMaster(shared(v1alpha1.TransportServerTLS)), testImages)),
		"refinery_deployment_plain":    deployment(RefineryDeployment(refinery, testMaster(shared(v1alpha1.TransportPlaintext)), testImages)),
		"refinery_deployment_merged":   deployment(RefineryDeployment(testRefinery(withTemplate(workload)), master, testImages)),
	}
	for name, object := range tests {
		t.Run(name, func(t *testing.T) { compareGolden(t, name, object) })
	}
	if *update {
		return
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) != len(tests) {
		t.Errorf("%d files in testdata, %d objects (%v)", len(files), len(tests), err)
	}
}

func compareGolden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("(-%s +made):\n%s", path, diff)
	}
}

func chooseService(m *v1alpha1.ClusterMaster) {
	m.Spec.Service = v1alpha1.MasterService{Type: corev1.ServiceTypeLoadBalancer, Port: 443, Annotations: map[string]string{"internal": "true"},
		ProxyProtocol: &v1alpha1.ProxyProtocol{Port: 444, TrustedNetworks: []v1alpha1.CIDR{"192.0.2.0/24"}}}
}

func choosePods(m *v1alpha1.ClusterMaster) {
	m.Spec.Template = &v1alpha1.MasterPodTemplate{}
	template := `
metadata: {labels: {tier: front, app.kubernetes.io/name: mine}, annotations: {note: kept}}
resources: {limits: {memory: 1Gi}}
nodeSelector: {disk: fast}
tolerations: [{key: edge, operator: Exists}]
topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: high
`
	if err := yaml.UnmarshalStrict([]byte(template), m.Spec.Template); err != nil {
		panic(err)
	}
}

// nameMore leaves no room for a common name.
func nameMore(m *v1alpha1.ClusterMaster) {
	m.Namespace, m.Name = strings.Repeat("p", 20), strings.Repeat("a", 48)
	m.Spec.Certificates = &v1alpha1.CertificatesSpec{DNSNames: []string{"*.example.com"}, IPAddresses: []string{"192.0.2.10"}, IssuerRef: &testIssuer,
		PrivateKey: v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyEd25519}}
}

func choosePorts(r *v1alpha1.Refinery) {
	r.Spec.Ports = []v1alpha1.Port{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}
}

func isolate(m *v1alpha1.ClusterMaster) { m.Spec.NetworkPolicy = &v1alpha1.MasterNetworkPolicy{} }

func isolateMore(m *v1alpha1.ClusterMaster) {
	isolate(m)
	chosen := `
nodes:
- {podSelector: {matchLabels: {app.kubernetes.io/component: refinery}}}
- {ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}
metrics:
- {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}, podSelector: {matchExpressions: [{key: app, operator: In, values: [prometheus]}]}}
apiServer:
- {ipBlock: {cidr: 203.0.113.10/32}}
apiServerPort: 6443
`
	if err := yaml.UnmarshalStrict([]byte(chosen), m.Spec.NetworkPolicy); err != nil {
		panic(err)
	}
}

func evictHalf(r *v1alpha1.Refinery) {
	r.Spec.PodDisruptionBudget.MaxUnavailable = ptr.To(intstr.FromString("50%"))
}

func bringSecret(r *v1alpha1.Refinery) {
	r.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: "press-own"}
	r.Spec.Version = "1.2.3"
}
