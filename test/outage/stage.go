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

// MinNodes are the fewest that say anything.
const MinNodes = 3 * alone

// alone are how many nodes connect one after the other, to see how long that takes with nothing else to do.
const alone = 10

// millsOf returns the names of so many Refineries as a number of nodes has: three, or one for every hundred.
func millsOf(nodes int) (names []string) {
	for i := range max(3, nodes/100) {
		names = append(names, fmt.Sprintf("mill-%d", i))
	}
	return names
}

// Stage is where a scenario happens: a namespace with a ClusterMaster, two masters and their nodes, all of them as they are
// when nothing has happened for a while. The operator has made what they need, and is gone.
type Stage struct {
	testing.TB
	*Cluster
	Row Row

	namespace, directory string
	masters, spare       []*masterProcess // those that were started, and those that were not yet
	between              *carriedLink     // of the masters
	service              *service
	// follow ends what watches in the background, following.
	follow    context.Context
	following sync.WaitGroup

	fleet    *fleet
	mills    []string // the Refineries whose nodes are measured; no scenario writes to them
	measured []*node
	doomed   *node
	// rate is how many nodes a second are let in when all of them connect.
	rate float64
	// handshake is how long a node takes to be let in with nothing else to do.
	handshake time.Duration
}

// NewStage sets everything up for a scenario, with a number of nodes in all. It ends with the test.
func NewStage(t testing.TB, c *Cluster, scenario Scenario, nodes int) *Stage {
	t.Helper()
	s := &Stage{TB: t, Cluster: c, directory: t.TempDir(), mills: millsOf(nodes), Row: Row{Scenario: scenario.What, Nodes: nodes}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "outage-"}}
	s.must(c.API.Create(t.Context(), namespace))
	s.namespace = namespace.Name
	s.createObjects(nodes)
	s.service = &service{address: s.serverName() + ":34308"}
	ctx, stop := context.WithCancel(context.Background())
	s.follow = ctx
	t.Cleanup(func() { stop(); s.following.Wait() })
	s.prepareMasters(max(2, scenario.Pods))
	for range 2 {
		s.startMaster()
	}
	s.following.Go(func() { s.followEndpoint(ctx) })
	until(t, "a master behind the Service", func() bool { return s.service.active() != nil })
	s.startNodes(nodes)
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
func (s *Stage) createObjects(nodes int) {
	s.Helper()
	s.must(s.API.Create(s.Context(), &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: masterName},
		Spec: v1alpha1.ClusterMasterSpec{Upstreams: upstreams(s)}}))
	replicas := map[string]int{doomed: 1, late: 1}
	for i := range nodes {
		replicas[s.mills[i%len(s.mills)]]++
	}
	for name, count := range replicas {
		s.must(s.API.Create(s.Context(), &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
			Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: masterName}, Placement: v1alpha1.PlacementExternal,
				Replicas: ptr.To(int32(count))}})) //nolint:gosec // some hundreds
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
		return s.API.Get(s.Context(), s.key(masterName), m) == nil && m.Status.ReconciledGeneration == m.Generation
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

// startNodes lets some connect one after the other, and then all the others at once.
func (s *Stage) startNodes(nodes int) {
	s.Helper()
	s.fleet = newFleet(s, s.service)
	s.doomed = s.fleet.join(doomed+"/n0", s.flags(doomed)...)
	node := func(i int) (id string, flags []string) {
		mill := s.mills[i%len(s.mills)]
		return fmt.Sprintf("%s/n%d", mill, i/len(s.mills)), s.flags(mill)
	}
	for i := range alone {
		id, flags := node(i)
		s.measured = append(s.measured, s.fleet.join(id, flags...))
	}
	s.handshake = spread(s.fleet.joined).Max
	began := time.Now()
	for i := alone; i < nodes; i++ {
		id, flags := node(i)
		s.measured = append(s.measured, s.fleet.run(id, flags...))
	}
	untilWithin(s, s.patience(), 20*time.Millisecond, "all nodes in session", func() bool { total, _ := s.fleet.inSession(); return total == nodes+1 })
	s.rate = s.fleet.rate(began)
	s.note("%.0f nodes a second were let in when all connected at first, all %d within %s", s.rate, nodes-alone, short(time.Since(began)))
}

// serverName is what nodes verify the master's certificate against.
func (s *Stage) serverName() string { return masterName + "." + s.namespace + ".svc" }

// flags of the nodes of a Refinery.
func (s *Stage) flags(refinery string) []string {
	return []string{"--certificate-dir=" + s.mounted(refinery+v1alpha1.CertificateSuffix)}
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

// patience is for all nodes, also on a machine that lets in few in a second.
func (s *Stage) patience() time.Duration {
	return patience + time.Duration(s.Row.Nodes)*50*time.Millisecond
}

// settled is for how long nothing may change until an outage counts as over.
const settled = 5 * time.Second

// settle waits until every node that may have a session has one and is ready, and status is true, for a while. It returns
// when status was untrue for the last time.
func (s *Stage) settle() (lastUntrue time.Time) {
	s.Helper()
	var why string
	quiet := time.Now()
	done := untilWithin(s, s.patience(), 20*time.Millisecond, "everything at rest", func() bool {
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
