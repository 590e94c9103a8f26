// Package cluster runs one real Kubernetes node on this machine, and takes every trace of it away again.
package cluster

import "path/filepath"

// What the cluster is called and where it listens. Nothing here can be configured: one cluster per machine.
const (
	// Root holds all state: certificates, etcd's data, containerd, kubelet, logs.
	Root = "/var/lib/refinery-cluster"
	// NodeName is the name of the only node.
	NodeName = "local"

	bridge = "rfy0"
	// bridgeAddress keeps the bridge's hardware address from changing with the pods on it.
	bridgeAddress = "0a:52:46:59:00:01"
	// nodeIP is the bridge's address: the pods' gateway, the kubelet's address and the API server's as pods see it.
	nodeIP        = "10.247.0.1"
	nodePrefix    = nodeIP + "/22"
	clusterRange  = "10.247.0.0/16" // all of the following
	podRange      = "10.247.0.0/22"
	serviceRange  = "10.247.8.0/22"
	apiServiceIP  = "10.247.8.1"
	dnsServiceIP  = "10.247.8.10"
	apiServerPort = "16443"
	etcdClientURL = "https://127.0.0.1:12379"
	etcdPeerURL   = "https://127.0.0.1:12380"
	// cgroup is the parent of all pods, so that a pod's processes can be told from everybody else's.
	cgroup   = "refinery-cluster"
	nftTable = "refinery-cluster"
	// networkName begins the names of the files the CNI library keeps in cniCacheDir.
	networkName = "refinery-cluster"
)

// Folders outside Root in which components leave files, their places being fixed.
const (
	cniCacheDir         = "/var/lib/cni/results"
	containerLogLinks   = "/var/log/containers"
	devicePluginDir     = "/var/lib/kubelet/device-plugins"
	containerdSocketDir = "/run/containerd/s"
)

func under(parts ...string) string { return filepath.Join(append([]string{Root}, parts...)...) }

// KubeconfigPath is the administrator's kubeconfig. It is written last, when the cluster is ready.
func KubeconfigPath() string { return under("kubeconfig") }

func containerdSocket() string { return under("containerd", "containerd.sock") }
