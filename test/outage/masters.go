package outage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/version"
	"github.com/refinery-operator/refinery-operator/protocol"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

// masterProcess is a master pod.
type masterProcess struct {
	*programs.Process
	Pod string
	// Address is where it listens for nodes, peer for the other master, health for probes.
	Address, peer, health string
	// API is the link from it to the API server, Nodes that from nodes to it.
	API, Nodes *link

	mu    sync.Mutex
	ready timeline
}

// startMasters runs two masters, each with the rights that its Role gives it and links of its own, and one between them.
func (s *Stage) startMasters(ctx context.Context, following *sync.WaitGroup) {
	s.Helper()
	s.between = newLink()
	for i := range 2 {
		s.masters = append(s.masters, &masterProcess{Pod: fmt.Sprintf("%s-%d", masterName, i), API: newLink(), Nodes: newLink(),
			Address: loopback.Reserve(s), peer: loopback.Reserve(s), health: loopback.Reserve(s)})
	}
	account := resource.MasterServiceAccountName(&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: masterName}})
	for i, m := range s.masters {
		api := forward(s, net.IPv4(127, 0, 0, 1), func() (string, *link) { return s.APIAddress(), m.API })
		other := forward(s, net.IPv4(127, 0, 0, 1), func() (string, *link) { return s.other(m).peer, s.between })
		m.Process = programs.Start(s, programs.Master, m.Pod, s.directory, "--namespace="+s.namespace, "--name="+masterName, "--pod-name="+m.Pod, fmt.Sprintf("--pod-ips=192.0.2.%d", 1+i),
			"--kubeconfig="+s.kubeconfig(m.Pod, api.Address, account), "--certificate-dir="+s.mounted(masterName+v1alpha1.CertificateSuffix),
			"--peers="+other.Address, "--peer-listen="+m.peer, "--peer-certificate-dir="+s.mounted(masterName+v1alpha1.PeerSuffix),
			"--listen="+m.Address, "--health-address="+m.health)
		following.Go(func() { m.watchReadiness(ctx) })
		until(s, m.Pod+" ready", m.isReady)
	}
}

func (m *masterProcess) isReady() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready.at(time.Now())
}

func (m *masterProcess) watchReadiness(ctx context.Context) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ticks := time.NewTicker(readinessTick)
	defer ticks.Stop()
	for {
		ready, _ := probe(ctx, client, "http://"+m.health+"/readyz")
		m.mu.Lock()
		m.ready.add(time.Now(), ready)
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-m.Ended():
			return
		case <-ticks.C:
		}
	}
}

// notReady is the longest time that a master was not ready from one time to another.
func (m *masterProcess) notReady(from, to time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready.longestOff(from, to)
}

// listens reports whether it takes connections. It must not be frozen: the kernel takes them then.
func (m *masterProcess) listens() bool {
	conn, err := net.Dial("tcp", m.Address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// master returns the process of a pod, nil for none.
func (s *Stage) master(pod string) *masterProcess {
	if i := slices.IndexFunc(s.masters, func(m *masterProcess) bool { return m.Pod == pod }); i >= 0 {
		return s.masters[i]
	}
	return nil
}

// other is the master that is not m.
func (s *Stage) other(m *masterProcess) *masterProcess {
	if s.masters[0] == m {
		return s.masters[1]
	}
	return s.masters[0]
}

// followEndpoint keeps the Service pointed at its endpoint, as what programs a cluster's network does: it watches, and while it
// is told nothing it changes nothing.
func (s *Stage) followEndpoint(ctx context.Context) {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		if watcher, err := s.API.Watch(ctx, &discoveryv1.EndpointSliceList{}, client.InNamespace(s.namespace),
			client.MatchingLabels{discoveryv1.LabelServiceName: masterName}); err == nil {
			for e := range watcher.ResultChan() {
				if slice, ok := e.Object.(*discoveryv1.EndpointSlice); ok && len(slice.Endpoints) == 1 {
					s.service.point(s.master(slice.Endpoints[0].TargetRef.Name))
				}
			}
			watcher.Stop()
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

// admits reports whether a master lets a node in that connects to it past the Service, and hears no more of it.
func (s *Stage) admits(m *masterProcess) bool {
	s.Helper()
	directory := s.mounted(late + v1alpha1.CertificateSuffix)
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey))
	s.must(err)
	authorities, err := os.ReadFile(filepath.Join(directory, v1alpha1.AuthorityKey)) //nolint:gosec // of this test
	s.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authorities)
	ctx, cancel := context.WithTimeout(s.Context(), time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
		ServerName: s.serverName()}}).DialContext(ctx, "tcp", m.Address)
	if err != nil {
		return false
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type = late+"/probe", version.Version, "refinery"
	o.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	c, err := protocol.Handshake(ctx, conn, o)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
