package cluster

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"text/template"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*"))

// parameters is what the templates name.
func parameters(a assets.Assets) map[string]string {
	return map[string]string{
		"Root":             Root,
		"ContainerdSocket": containerdSocket(),
		"PauseImage":       pauseImage(a),
		"CoreDNSImage":     coreDNSImage(a),
		"NetworkName":      networkName,
		"Bridge":           bridge,
		"PodRange":         podRange,
		"NodeIP":           nodeIP,
		"DNSServiceIP":     dnsServiceIP,
		"Cgroup":           cgroup,
		"NFTTable":         nftTable,
		"APIServerPort":    apiServerPort,
	}
}

func render(name string, with map[string]string) ([]byte, error) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, with); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeConfiguration lays out Root: folders, certificates and every component's configuration.
func writeConfiguration(a assets.Assets) error {
	for _, dir := range []string{"logs", "config", "pki", "cni/net.d", "containerd", "home", "pods"} {
		if err := os.MkdirAll(under(dir), 0o700); err != nil {
			return err
		}
	}
	if err := writePKI(); err != nil {
		return err
	}
	for file, name := range map[string]string{
		under("config", "containerd.toml"):         "containerd.toml",
		under("config", "kubelet.yaml"):            "kubelet.yaml",
		under("cni", "net.d", "refinery.conflist"): "cni.conflist",
	} {
		content, err := render(name, parameters(a))
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
	}
	for _, client := range []string{controllerManager, scheduler, kubelet, kubeProxy, "admin"} {
		if err := writeKubeconfig(under("config", client+".kubeconfig"), client); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig writes a kubeconfig with the certificate of the named client. It appears whole or not at all.
func writeKubeconfig(path, client string) error {
	values := map[string]string{"APIServerPort": apiServerPort, "User": client}
	for key, file := range map[string]string{"CA": "ca.crt", "Certificate": client + ".crt", "Key": client + ".key"} {
		content, err := os.ReadFile(pkiFile(file))
		if err != nil {
			return err
		}
		values[key] = base64.StdEncoding.EncodeToString(content)
	}
	content, err := render("kubeconfig.yaml", values)
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", client, err)
	}
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
