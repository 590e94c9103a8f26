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
	"strings"
	"sync"
	"syscall"
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
	Pod string
	// Address is where it listens for nodes, peer for the other masters, health for probes.
	Address, peer, health string
	// API is the link from it to the API server, Nodes that from nodes to it.
	API   *carriedLink
	Nodes *link

	run func() *programs.Process

	mu      sync.Mutex
	process *programs.Process
	ready   timeline
}

// prepareMasters makes room for pods of masters, each with the rights that their Role gives them and links of its own, and one
// link between all of them.
func (s *Stage) prepareMasters(count int) {
	s.Helper()
	carrier := startCarrier(s)
	s.between = &carriedLink{carrier, "between"}
	var all []*masterProcess
	for i := range count {
		all = append(all, &masterProcess{Pod: fmt.Sprintf("%s-%d", masterName, i), API: &carriedLink{carrier, fmt.Sprintf("api-%d", i)}, Nodes: newLink(),
			Address: loopback.Reserve(s), peer: loopback.Reserve(s), health: loopback.Reserve(s)})
	}
	account := resource.MasterServiceAccountName(&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: masterName}})
	for i, m := range all {
		api := carrier.forward(s.APIAddress(), m.API)
		var peers []string
		for _, other := range all {
			if other != m {
				peers = append(peers, carrier.forward(other.peer, s.between))
			}
		}
		kubeconfig := s.kubeconfig(m.Pod, api, account)
		m.run = func() *programs.Process {
			return programs.Start(s, programs.Master, m.Pod, s.directory, "--namespace="+s.namespace, "--name="+masterName, "--pod-name="+m.Pod, fmt.Sprintf("--pod-ips=192.0.2.%d", 1+i),
				"--kubeconfig="+kubeconfig, "--certificate-dir="+s.mounted(masterName+v1alpha1.CertificateSuffix),
				"--peers="+strings.Join(peers, ","), "--peer-listen="+m.peer, "--peer-certificate-dir="+s.mounted(masterName+v1alpha1.PeerSuffix),
				"--listen="+m.Address, "--health-address="+m.health)
		}
	}
	s.spare = all
}

// startMaster runs the next pod of a master, and returns when it is ready.
func (s *Stage) startMaster() {
	s.Helper()
	m := s.spare[0]
	s.spare = s.spare[1:]
	s.masters = append(s.masters, m)
	m.start()
	s.following.Go(func() { m.watchReadiness(s.follow) })
	until(s, m.Pod+" ready", m.isReady)
}

// start runs the process of a pod, which has none: for the first time, or as the kubelet runs a container again.
func (m *masterProcess) start() {
	p := m.run()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process = p
}

// now is the process that it has, or had last.
func (m *masterProcess) now() *programs.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// end ends the process by a signal, and returns when it has ended.
func (m *masterProcess) end(signal syscall.Signal) {
	p := m.now()
	p.Signal(signal)
	<-p.Ended()
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
	directory := s.mounted(late + v1alpha1.CertificateSuffix)
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey))
	if err != nil {
		s.Errorf("the certificate of %s: %v", late, err)
		return false
	}
	authorities, err := os.ReadFile(filepath.Join(directory, v1alpha1.AuthorityKey)) //nolint:gosec // of this test
	if err != nil {
		s.Errorf("the authorities of %s: %v", late, err)
		return false
	}
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
