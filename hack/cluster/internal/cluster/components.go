package cluster

import (
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
)

// Names of the components, as they stand in processes' markers, log files and `status`.
const (
	containerd        = "containerd"
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kubelet           = "kubelet"
	kubeProxy         = "kube-proxy"
)

// componentNames in the order they start.
var componentNames = []string{containerd, etcd, apiServer, controllerManager, scheduler, kubelet, kubeProxy}

// components are the cluster's daemons with their full command lines.
func components(a assets.Assets) map[string]component {
	commands := map[string][]string{
		containerd:        {"--config", under("config", "containerd.toml")},
		etcd:              etcdFlags(),
		apiServer:         apiServerFlags(),
		controllerManager: controllerManagerFlags(),
		scheduler: {
			"--kubeconfig=" + under("config", scheduler+".kubeconfig"),
			"--leader-elect=false", "--secure-port=0", "--profiling=false",
			"--kube-api-qps=200", "--kube-api-burst=400",
		},
		kubelet: {
			"--config=" + under("config", "kubelet.yaml"),
			"--kubeconfig=" + under("config", kubelet+".kubeconfig"),
			"--root-dir=" + under("kubelet"),
			"--cert-dir=" + under("pki", "kubelet"),
			"--hostname-override=" + NodeName,
			"--node-ip=" + nodeIP,
		},
		kubeProxy: {
			"--kubeconfig=" + under("config", kubeProxy+".kubeconfig"),
			"--proxy-mode=nftables", "--cluster-cidr=" + podRange,
			"--hostname-override=" + NodeName, "--bind-address=" + nodeIP,
			"--healthz-bind-address=" + nodeIP + ":10256", "--metrics-bind-address=" + nodeIP + ":10249",
			// The machine's connection tracking limits stay as they are.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
			// Lowering one's own score takes CAP_SYS_RESOURCE.
			"--oom-score-adj=0",
		},
	}
	all := make(map[string]component, len(commands))
	for name, args := range commands {
		path := a.Path(name)
		if name == containerd {
			path = "/usr/bin/containerd"
		}
		all[name] = component{name: name, path: path, args: args}
	}
	return all
}

func etcdFlags() []string {
	return []string{
		"--name=" + NodeName, "--data-dir=" + under("etcd"),
		"--listen-client-urls=" + etcdClientURL, "--advertise-client-urls=" + etcdClientURL,
		"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=" + NodeName + "=" + etcdPeerURL,
		"--client-cert-auth", "--trusted-ca-file=" + pkiFile("etcd-ca.crt"),
		"--cert-file=" + pkiFile("etcd.crt"), "--key-file=" + pkiFile("etcd.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + pkiFile("etcd-ca.crt"),
		"--peer-cert-file=" + pkiFile("etcd.crt"), "--peer-key-file=" + pkiFile("etcd.key"),
		// The cluster's state does not outlive `down`, so nothing is gained by waiting for the disk.
		"--unsafe-no-fsync",
	}
}

func apiServerFlags() []string {
	return []string{
		"--etcd-servers=" + etcdClientURL, "--etcd-cafile=" + pkiFile("etcd-ca.crt"),
		"--etcd-certfile=" + pkiFile("etcd-client.crt"), "--etcd-keyfile=" + pkiFile("etcd-client.key"),
		// People reach it at 127.0.0.1, pods at nodeIP; the nft table keeps everybody else out.
		"--bind-address=0.0.0.0", "--secure-port=" + apiServerPort, "--advertise-address=" + nodeIP,
		"--tls-cert-file=" + pkiFile("apiserver.crt"), "--tls-private-key-file=" + pkiFile("apiserver.key"),
		"--client-ca-file=" + pkiFile("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged", "--profiling=false",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pkiFile("service-account.pub"),
		"--service-account-signing-key-file=" + pkiFile("service-account.key"),
		"--kubelet-certificate-authority=" + pkiFile("ca.crt"),
		"--kubelet-client-certificate=" + pkiFile("kubelet-client.crt"), "--kubelet-client-key=" + pkiFile("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

func controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + under("config", controllerManager+".kubeconfig"),
		"--leader-elect=false", "--secure-port=0", "--profiling=false",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + pkiFile("service-account.key"),
		"--root-ca-file=" + pkiFile("ca.crt"),
		// Addresses of pods come from the CNI configuration, not from the node.
		"--allocate-node-cidrs=false",
		"--kube-api-qps=200", "--kube-api-burst=400",
	}
}
