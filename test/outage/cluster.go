// Package outage shows what nodes notice of the control plane when parts of it are away: real etcd, kube-apiserver and
// masters as processes, nodes that run the agent's own code, and links between all of them that can be cut. Everything is
// measured on the clock of the process that runs the nodes.
package outage

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// Cluster is an etcd and an API server that can be stopped, each alone, and come back at the same addresses with all they had.
type Cluster struct {
	// API asks the API server, over no link that can be cut.
	API client.WithWatch

	environment *envtest.Environment
	config      *rest.Config
	etcd        *url.URL
	etcdData    string // its directory
}

// StartCluster starts both until the test ends.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{environment: &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
	}}
	// Addresses and directories that are given are kept when a process starts again.
	c.etcd = &url.URL{Scheme: "http", Host: loopback.Reserve(t)}
	c.etcdData = filepath.Join(t.TempDir(), "etcd")
	c.environment.ControlPlane.Etcd = &envtest.Etcd{URL: c.etcd, DataDir: c.etcdData}
	server := c.environment.ControlPlane.GetAPIServer()
	server.CertDir = t.TempDir()
	server.Address, server.Port, _ = net.SplitHostPort(loopback.Reserve(t))
	config, err := c.environment.Start()
	t.Cleanup(func() { _ = c.environment.Stop() })
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c.config = config
	scheme, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	if c.API, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return c
}

// StopAPIServer ends the API server, and returns when nobody listens at its address. It is killed when it does not end soon: for
// long it waits for watches to end, which are those of masters.
func (c *Cluster) StopAPIServer() {
	server := c.environment.ControlPlane.GetAPIServer()
	server.StopTimeout = time.Second
	_ = server.Stop() // it says that the time is over, and has killed it
	for {
		conn, err := net.Dial("tcp", c.APIAddress())
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// StartAPIServer returns when it says that it is healthy.
func (c *Cluster) StartAPIServer() error { return c.environment.ControlPlane.GetAPIServer().Start() }

// StopEtcd returns when etcd has ended.
func (c *Cluster) StopEtcd() error { return c.environment.ControlPlane.Etcd.Stop() }

// StartEtcd returns when it says that it is healthy.
func (c *Cluster) StartEtcd() error { return c.environment.ControlPlane.Etcd.Start() }

// APIAddress is where the API server listens.
func (c *Cluster) APIAddress() string {
	server := c.environment.ControlPlane.GetAPIServer()
	return net.JoinHostPort(server.Address, server.Port)
}

// Kubeconfig is for a client that reaches the API server at address, with the rights of a ServiceAccount, or all if account
// is empty.
func (c *Cluster) Kubeconfig(address, namespace, account string) clientcmdapi.Config {
	user := &clientcmdapi.AuthInfo{ClientCertificateData: c.config.CertData, ClientKeyData: c.config.KeyData}
	if account != "" {
		user.Impersonate = "system:serviceaccount:" + namespace + ":" + account
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	}
	return clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: "https://" + address, CertificateAuthorityData: c.config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": user},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u", Namespace: namespace}},
		CurrentContext: "x",
	}
}

// Writes returns how often each ClusterMaster and Refinery of a namespace has been written since it was created, by kind and
// name. It asks etcd, which counts, so that no write is missed, and none is counted that changed nothing.
func (c *Cluster) Writes(ctx context.Context, namespace string) (map[string]int, error) {
	writes := map[string]int{}
	for _, kind := range []string{"clustermasters", "refineries"} {
		prefix := "/registry/cluster.refinery.dev/" + kind + "/" + namespace + "/"
		last := prefix[:len(prefix)-1] + "0" // the character after '/'
		body, err := json.Marshal(map[string]any{"key": []byte(prefix), "range_end": []byte(last), "keys_only": true})
		if err != nil {
			return nil, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcd.JoinPath("v3", "kv", "range").String(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		var found struct {
			KVs []struct {
				Key     string
				Version int `json:",string"`
			}
		}
		err = json.NewDecoder(response.Body).Decode(&found)
		_ = response.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("etcd's answer: %w", err)
		}
		for _, kv := range found.KVs {
			key, err := base64.StdEncoding.DecodeString(kv.Key)
			if err != nil {
				return nil, err
			}
			writes[kind+"/"+strings.TrimPrefix(string(key), prefix)] = kv.Version
		}
	}
	return writes, nil
}
