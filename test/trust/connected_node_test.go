package trust

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/kubectl"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// live is a node with a session, as its master sees it.
type live struct {
	*plant
	refinery, id, version string
	certificate           string
	config                *tls.Config
	address               string
	ended                 chan error // of the session that is held
}

// live connects a node with the certificate in its Refinery's Secret, and holds the session.
func (p *plant) live(refinery, id, version, address string) *live {
	p.Helper()
	content := p.secret(refinery + "-tls").Data
	pair := pki.PEMPair{Certificate: content[corev1.TLSCertKey], Key: content[corev1.TLSPrivateKeyKey]}
	n := &live{plant: p, refinery: refinery, id: id, version: version, certificate: string(pair.Certificate), address: address}
	master := p.masterOf(refinery)
	n.config = clientConfig(p.T, pair, p.secret(master + "-tls").Data[v1alpha1.AuthorityKey], p.serverName(master))
	p.until(id+" let in", func() bool { return n.connect() == nil }) // its listing may be on its way to the master
	return n
}

func (p *plant) masterOf(refinery string) string {
	p.Helper()
	r := &v1alpha1.Refinery{}
	p.must(api.Get(p.Context(), p.key(refinery), r))
	return r.Spec.MasterRef.Name
}

// connect begins a session, in the place of the one that is held, if any.
func (n *live) connect() error {
	conn, err := (&tls.Dialer{Config: n.config}).DialContext(n.Context(), "tcp", n.address)
	if err != nil {
		return err
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = n.id, n.version, "refinery", n.certificate
	c, err := protocol.Handshake(n.Context(), conn, o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(n.Context()) }()
	n.ended = ended
	return nil
}

func (n *live) over() bool {
	select {
	case err := <-n.ended:
		n.ended <- err
		return true
	default:
		return false
	}
}

// fate is what a change has done to a node: whether its session ended, or it is refused when it connects anew.
// "" means that it is let in as before.
func (n *live) fate() admit.When {
	n.Helper()
	over := n.over()
	err := n.connect()
	if _, unreachable := errors.AsType[*net.OpError](err); unreachable {
		n.Fatalf("%s: %v", n.id, err)
	}
	switch {
	case over && err == nil:
		n.Errorf("the session of %s ended, and it is let in again", n.id)
		return admit.AtOnce
	case over:
		return admit.AtOnce
	case err != nil:
		return admit.OnReturn
	default:
		return ""
	}
}

// predicted asks the preview what a change would do to the nodes, by id, without those that it does nothing to.
func (p *plant) predicted(clusterMaster string, args ...string) map[string]admit.When {
	p.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"preview", clusterMaster, "--kubeconfig=" + kubeconfig, "-n", p.namespace, "-o", "json"}, args...)
	if code := kubectl.Main(p.Context(), args, nil, &stdout, &stderr); code == 2 {
		p.Fatal(stderr.String())
	}
	var refusals []admit.Refusal
	p.must(json.Unmarshal(stdout.Bytes(), &refusals))
	when := map[string]admit.When{}
	for _, r := range refusals {
		when[r.Node] = r.When
	}
	return when
}

// reported waits until the master has written that all of these nodes, and no others, are authenticated.
func (p *plant) reported(nodes ...*live) {
	p.Helper()
	wanted := map[string]int32{}
	for _, n := range nodes {
		wanted[n.refinery]++
	}
	for name, count := range wanted {
		p.until(name+" reported", func() bool {
			r := &v1alpha1.Refinery{}
			return api.Get(p.Context(), p.key(name), r) == nil && r.Status.Authenticated != nil && r.Status.Authenticated.Nodes == count &&
				!slices.ContainsFunc(r.Status.Nodes, func(n v1alpha1.NodeStatus) bool { return n.State != v1alpha1.NodeAuthenticated })
		})
	}
}

// loaded waits until the operator has done with a ClusterMaster as it is, and its status, in which the active master says
// what it has loaded, is as wanted.
func (p *plant) loaded(name string, is func(*v1alpha1.ClusterMasterStatus) bool) {
	p.Helper()
	p.until("the trust of "+name+" loaded", func() bool {
		m := &v1alpha1.ClusterMaster{}
		return api.Get(p.Context(), p.key(name), m) == nil && m.Status.Active != nil && m.Status.ReconciledGeneration == m.Generation && is(&m.Status)
	})
}

// kubelet keeps copying a Secret into the directory that mount made of it.
func (p *plant) kubelet(secret string) {
	p.Helper()
	watcher, err := api.Watch(p.Context(), &corev1.SecretList{}, client.InNamespace(p.namespace), client.MatchingFields{"metadata.name": secret})
	p.must(err)
	var running sync.WaitGroup
	running.Go(func() {
		for e := range watcher.ResultChan() {
			s, ok := e.Object.(*corev1.Secret)
			if !ok {
				continue
			}
			for name, content := range s.Data {
				path := filepath.Join(p.directory, secret, name)
				if err := errors.Join(os.WriteFile(path+".new", content, 0o600), os.Rename(path+".new", path)); err != nil {
					p.Error(err)
				}
			}
		}
	})
	p.Cleanup(func() {
		watcher.Stop()
		running.Wait()
	})
}
