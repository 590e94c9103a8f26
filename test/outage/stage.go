package outage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/protocol"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

const (
	masterName = "alpha"
	// doomed is a Refinery of one node, whose certificate a scenario may revoke, and late one whose node connects later.
	doomed = "doomed"
	late   = "late"
)

// mills are the Refineries whose nodes are measured. No scenario writes to them.
var mills = []string{"mill-a", "mill-b", "mill-c"}

// Stage is where a scenario happens: a namespace with a ClusterMaster, two masters and their nodes, all of them as they are
// when nothing has happened for a while. The operator has made what they need, and is gone.
type Stage struct {
	testing.TB
	*Cluster
	Row Row

	namespace, directory string
	masters              []*masterProcess
	between              *link // of the masters
	service              *service
	fleet                *fleet
	measured             []*node // the nodes of mills
	doomed               *node
	// handshake is how long a node takes to be let in with nothing else to do.
	handshake time.Duration
}

// NewStage sets everything up, with a number of nodes for each of the mills. It ends with the test.
func NewStage(t testing.TB, c *Cluster, scenario string, each int) *Stage {
	t.Helper()
	s := &Stage{TB: t, Cluster: c, directory: t.TempDir(), Row: Row{Scenario: scenario, Nodes: each * len(mills)}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "outage-"}}
	s.must(c.API.Create(t.Context(), namespace))
	s.namespace = namespace.Name
	s.createObjects(each)
	s.service = &service{}
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	t.Cleanup(func() { stop(); following.Wait() })
	s.startMasters(ctx, &following)
	following.Go(func() { s.followEndpoint(ctx) })
	until(t, "a master behind the Service", func() bool { return s.service.active() != nil })
	s.startNodes(each)
	joined := time.Now()
	s.settle()
	if t.Failed() {
		t.FailNow() // nothing that follows would mean anything
	}
	wait(time.Until(joined.Add(protocol.DefaultAliveInterval + time.Second))) // a session that ends before its first heartbeat is not like others
	return s
}

func (s *Stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *Stage) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}

// createObjects has an operator make what a ClusterMaster and its Refineries need.
func (s *Stage) createObjects(each int) {
	s.Helper()
	s.must(s.API.Create(s.Context(), &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: masterName},
		Spec: v1alpha1.ClusterMasterSpec{Upstreams: []v1alpha1.Upstream{{Name: "target", Address: accepting(s)}}}}))
	replicas := map[string]int{doomed: 1, late: 1}
	for _, name := range mills {
		replicas[name] = each
	}
	for name, count := range replicas {
		s.must(s.API.Create(s.Context(), &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
			Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: masterName}, Placement: v1alpha1.PlacementExternal,
				Replicas: ptr.To(int32(count))}})) //nolint:gosec // a few
	}
	operator := programs.Start(s, programs.Operator, "operator", s.directory, "--master-image=m", "--refinery-image=r",
		"--kubeconfig="+s.kubeconfig("operator", s.APIAddress(), ""), "--watch-namespaces="+s.namespace, "--health-address=0", "--metrics-address=0")
	s.mount(masterName + v1alpha1.CertificateSuffix)
	s.mount(masterName + v1alpha1.PeerSuffix)
	for name := range replicas {
		s.mount(name + v1alpha1.CertificateSuffix)
		until(s, name+" listing its certificate", func() bool {
			r := &v1alpha1.Refinery{}
			return s.API.Get(s.Context(), s.key(name), r) == nil && len(r.Status.Certificates) > 0
		})
	}
	until(s, "the operator done with the ClusterMaster", func() bool {
		m := &v1alpha1.ClusterMaster{}
		return s.API.Get(s.Context(), s.key(masterName), m) == nil && m.Status.ObservedGeneration == m.Generation
	})
	operator.Stop()
}

// kubeconfig writes a file for a client that reaches the API server at an address, and returns its path.
func (s *Stage) kubeconfig(name, address, account string) string {
	s.Helper()
	path := filepath.Join(s.directory, name+".kubeconfig")
	s.must(clientcmd.WriteToFile(s.Kubeconfig(address, s.namespace, account), path))
	return path
}

// mount waits for a Secret and writes it to its directory.
func (s *Stage) mount(secret string) {
	s.Helper()
	found := &corev1.Secret{}
	until(s, "Secret "+secret, func() bool { return s.API.Get(s.Context(), s.key(secret), found) == nil })
	s.must(os.MkdirAll(s.mounted(secret), 0o700))
	for name, content := range found.Data {
		s.must(os.WriteFile(filepath.Join(s.mounted(secret), name), content, 0o600))
	}
}

func (s *Stage) mounted(secret string) string { return filepath.Join(s.directory, secret) }

func (s *Stage) startNodes(each int) {
	s.Helper()
	s.fleet = &fleet{TB: s, directory: s.directory}
	for _, mill := range mills {
		for i := range each {
			s.measured = append(s.measured, s.join(mill, i))
		}
	}
	s.doomed = s.join(doomed, 0)
	s.handshake = spread(s.fleet.joined).P99
}

// join runs a node of a Refinery, and returns when it is let in.
func (s *Stage) join(refinery string, i int) *node {
	s.Helper()
	return s.fleet.join(refinery, fmt.Sprintf("%s/n%d", refinery, i), s.flags(refinery)...)
}

// serverName is what nodes verify the master's certificate against.
func (s *Stage) serverName() string { return masterName + "." + s.namespace + ".svc" }

// flags of the nodes of a Refinery.
func (s *Stage) flags(refinery string) []string {
	return []string{"--address=" + s.service.enter(s),
		"--server-name=" + s.serverName(), "--certificate-dir=" + s.mounted(refinery+v1alpha1.CertificateSuffix)}
}

// untrue says in what status differs from what is so, "" if in nothing.
func (s *Stage) untrue(ctx context.Context) string {
	total, of := s.fleet.inSession()
	m := &v1alpha1.ClusterMaster{}
	lease := &coordinationv1.Lease{}
	list := &v1alpha1.RefineryList{}
	if err := s.API.Get(ctx, s.key(masterName), m); err != nil {
		return err.Error()
	}
	if err := s.API.Get(ctx, s.key(m.LeaseName()), lease); err != nil {
		return err.Error()
	}
	if err := s.API.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
		return err.Error()
	}
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	switch {
	case m.Status.Active == nil || m.Status.Active.Pod != holder:
		return fmt.Sprintf("status.active is not the holder of the Lease, %q", holder)
	case m.Status.Nodes == nil || int(m.Status.Nodes.Authenticated) != total:
		return fmt.Sprintf("the ClusterMaster's nodes are %+v, and %d are in session", m.Status.Nodes, total)
	}
	for i := range list.Items {
		r := &list.Items[i]
		if r.Status.Authenticated == nil || int(r.Status.Authenticated.Nodes) != of[r.Name] {
			return fmt.Sprintf("authenticated nodes of %s are %+v, and %d are in session", r.Name, r.Status.Authenticated, of[r.Name])
		}
	}
	return ""
}

// settled is for how long nothing may change until an outage counts as over.
const settled = 5 * time.Second

// settle waits until every node that may have a session has one and is ready, and status is true, for a while. It returns
// when status was untrue for the last time.
func (s *Stage) settle() (lastUntrue time.Time) {
	s.Helper()
	var why string
	quiet := time.Now()
	done := until(s, "everything at rest", func() bool {
		now := time.Now()
		if w := s.untrue(s.Context()); w != "" {
			why, lastUntrue, quiet = w, now, now
		}
		for _, n := range s.measured {
			if !n.hasSession() || !n.isReady() {
				why, quiet = n.id+" is not in session and ready", now
			}
		}
		return time.Since(quiet) > settled
	})
	if !done {
		s.Errorf("it never came to rest: %s", why)
	}
	return lastUntrue
}
