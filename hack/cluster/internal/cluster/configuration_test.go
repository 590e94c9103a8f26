package cluster

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
)

func TestOnlyMissingPackagesAreInstalled(t *testing.T) {
	there := map[string]bool{"/usr/bin/containerd": true, "/usr/sbin/nft": true}
	got := missingPackages([]debianPackage{
		{"containerd", "/usr/bin/containerd"}, {"runc", "/usr/sbin/runc"}, {"nftables", "/usr/sbin/nft"},
	}, func(path string) bool { return there[path] })
	if diff := cmp.Diff([]string{"runc"}, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}

func TestEveryTemplateRendersWithoutHoles(t *testing.T) {
	values := parameters(assets.Assets{Version: "v1.2.3", CoreDNSVersion: "v4.5.6"})
	for _, key := range []string{"CA", "User", "Certificate", "Key"} {
		values[key] = "x"
	}
	for _, entry := range templates.Templates() {
		content, err := render(entry.Name(), values)
		if err != nil {
			t.Errorf("%s: %v", entry.Name(), err)
		}
		if strings.Contains(string(content), "<no value>") {
			t.Errorf("%s has a hole:\n%s", entry.Name(), content)
		}
		if strings.HasSuffix(entry.Name(), ".conflist") && !json.Valid(content) {
			t.Errorf("%s is no JSON:\n%s", entry.Name(), content)
		}
	}
}

func TestAddressesFitTheirRanges(t *testing.T) {
	all := netip.MustParsePrefix(clusterRange)
	pods, services := netip.MustParsePrefix(podRange), netip.MustParsePrefix(serviceRange)
	if pods.Overlaps(services) || !all.Overlaps(pods) || !all.Overlaps(services) {
		t.Errorf("pods %s and services %s must lie apart in %s", pods, services, all)
	}
	if netip.MustParsePrefix(nodePrefix).Masked() != pods {
		t.Errorf("the node's address %s must be in the network of the pods, %s", nodePrefix, pods)
	}
	if pods.Bits() > 23 { // 250 pods, and those that are being replaced
		t.Errorf("%s is too small for the kubelet's maxPods", pods)
	}
	for address, within := range map[string]netip.Prefix{nodeIP: pods, apiServiceIP: services, dnsServiceIP: services} {
		if !within.Contains(netip.MustParseAddr(address)) {
			t.Errorf("%s is not in %s", address, within)
		}
	}
	if first := services.Addr().Next().String(); first != apiServiceIP {
		t.Errorf("the API's Service gets %s, the certificate says %s", first, apiServiceIP)
	}
}

func TestEveryComponentHasACommandLine(t *testing.T) {
	all := components(assets.Assets{Dir: "/cache"})
	for _, name := range componentNames {
		c, ok := all[name]
		if !ok || c.name != name || c.path == "" || len(c.args) == 0 {
			t.Errorf("component %s is %+v", name, c)
		}
	}
	if len(all) != len(componentNames) {
		t.Errorf("%d components, %d of them in the order of start", len(all), len(componentNames))
	}
}

func TestImagesOfTheClusterAreReadFromTheListing(t *testing.T) {
	const listing = `REF                                      TYPE                                       DIGEST         SIZE    PLATFORMS   LABELS
docker.io/refinery-operator/master:dev   application/vnd.oci.image.manifest.v1+json sha256:0a1b    9.5 MiB linux/amd64 io.cri-containerd.image=managed
sha256:77aa                              application/vnd.oci.image.manifest.v1+json sha256:0a1b    9.5 MiB linux/amd64 io.cri-containerd.image=managed
`
	want := map[string]string{"docker.io/refinery-operator/master:dev": "sha256:0a1b", "sha256:77aa": "sha256:0a1b"}
	if diff := cmp.Diff(want, parseImages(listing)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}
