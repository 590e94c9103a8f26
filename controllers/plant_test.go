package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/agent"
	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/master"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// plant is a ClusterMaster alpha whose master runs here, and two Refineries whose nodes do: press, as if in pods,
// and edge, with placement External. What they mount is brought to them as a kubelet does.
type plant struct {
	*testing.T
	ctx       context.Context
	namespace string
	// clock is the operator's. It is stepped on whenever a rotation waits for nothing else, but never by more than
	// certificates are backdated by, since master and nodes live by the real time.
	clock   *clocktesting.FakePassiveClock
	ahead   time.Duration
	address string
	// authority is the name of its Secret.
	authority string
	// takenAway is the name of one that is provided, and taken out of the spec again, to have it replaced.
	takenAway string
	// directory is what the master mounts, masterHealth where its metrics are. shared is where master and nodes mount the shared
	// certificate; "" for nowhere.
	directory, masterHealth, shared string
	stopMaster                      func()
	nodes                           []*plantNode
	forgotten                       []string // refusals that undisturbed does not count
	kubelet                         *kubelet
	// changed is set by what the operator watches: there is something to look at.
	changed atomic.Bool
}

type plantNode struct {
	// directory is what it mounts, stop ends it.
	id, health, directory string
	transport             agent.Transport
	stop                  func()
	// down reports whether it is not expected to answer.
	down atomic.Bool
	// unready counts how often it was found not ready after it once was.
	unready atomic.Int32
	ready   atomic.Bool
}

var plantRefineries = []string{"press", "edge"}

// newPlant starts everything, with an authority that is provided, if one is given, and waits until every node is authenticated and the operator has nothing to do.
func newPlant(t *testing.T, provided ...pki.PEMPair) *plant {
	t.Helper()
	namespace, err := newNamespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &plant{T: t, ctx: t.Context(), namespace: namespace, clock: clocktesting.NewFakePassiveClock(time.Now()), address: loopback.Reserve(t)}
	objects := []client.Object{
		// By the operator's clock the Lease is soon some minutes old.
		&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alpha"},
			Spec: v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AliveIntervalSeconds: 10, AliveTimeoutSeconds: 600}}},
		&v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "press"},
			Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Replicas: ptr.To[int32](2)}},
		&v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge"},
			Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Placement: v1alpha1.PlacementExternal}},
	}
	s.authority = "alpha-ca"
	if len(provided) > 0 {
		s.authority = "plant-ca"
		objects[0].(*v1alpha1.ClusterMaster).Spec.Certificates = &v1alpha1.CertificatesSpec{
			Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: s.authority}}}
		objects = append(objects, fixture{s.ctx, namespace}.tlsSecret(s.authority, provided[0]))
	}
	for _, o := range objects {
		s.must(api.Create(s.ctx, o))
		t.Cleanup(func() { _ = api.Delete(context.Background(), o) })
	}
	s.must(s.process(stop{}).run(s.ctx, t))

	s.kubelet = &kubelet{namespace: namespace, mounts: map[string][]string{}}
	s.directory = s.kubelet.mount(t, "alpha-tls")
	for id, secret := range map[string]string{"press/a": "press-tls", "press/b": "press-tls", "edge": "edge-tls"} {
		node := &plantNode{id: id, transport: agent.MutualTLS, directory: s.kubelet.mount(t, secret)}
		s.nodes = append(s.nodes, node)
	}
	s.start(func(ctx context.Context) error { return s.kubelet.run(ctx) })
	for _, kind := range []client.ObjectList{&v1alpha1.ClusterMasterList{}, &v1alpha1.RefineryList{}, &corev1.SecretList{}} {
		s.start(func(ctx context.Context) error { return s.watch(ctx, kind) })
	}
	s.startMaster("alpha-0")
	for _, node := range s.nodes {
		s.startNode(node)
		s.start(func(ctx context.Context) error { return node.probe(ctx) })
	}
	s.until("authenticated", func() bool { return s.presented("press") == 2 && s.presented("edge") == 1 })
	s.must(s.process(stop{}).run(s.ctx, t))
	return s
}

func (s *plant) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// start runs something until the test is over, or it is stopped, and fails the test if it ends by itself.
func (s *plant) start(run func(context.Context) error) (stopAndWait func()) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			s.Errorf("ended: %v", err)
		}
	})
	stopAndWait = func() {
		stop()
		running.Wait()
	}
	s.Cleanup(stopAndWait)
	return stopAndWait
}

// stop is the write at which an operator stops: the nth of its name.
type stop struct {
	write string
	nth   int
}

// process is an operator that stops at a write, or, with none, never.
func (s *plant) process(at stop) *process {
	p := newProcessAt(s.namespace, 0, false, s.clock, plantRefineries...)
	stopped := false
	p.writes.fail = func() error {
		count := 0
		for _, write := range p.writes.since(0) {
			if write == at.write {
				count++
			}
		}
		if stopped = stopped || (at.nth > 0 && count >= at.nth); stopped { // nothing is written after the end
			return errCrash
		}
		return nil
	}
	return p
}

func (s *plant) startMaster(pod string) {
	s.Helper()
	s.masterHealth = loopback.Reserve(s.T)
	m, err := master.NewMaster(master.Options{Namespace: s.namespace, Name: "alpha", PodName: pod, CertificateDirectory: s.directory,
		SharedCertificateFile: s.sharedFile(), Listen: s.address, HealthAddress: s.masterHealth}, restConfig, logr.Discard())
	s.must(err)
	s.stopMaster = s.start(m.Run)
}

func (s *plant) startNode(node *plantNode) {
	s.Helper()
	if node.health == "" {
		node.health = loopback.Reserve(s.T)
	}
	node.down.Store(false)
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "alpha"}}
	config := agent.Config{Transport: node.transport, ID: node.id, Type: "refinery", Version: "0.1.0", CertificateDir: node.directory,
		Settings:   masterfile.Settings{Address: s.address, AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second},
		ServerName: resource.MasterServerName(m), MaxBackoff: backoff.DefaultMax, HealthAddress: node.health}
	if node.transport != agent.MutualTLS {
		config.SharedCertificateFile = s.sharedFile()
	}
	s.must(config.Validate())
	node.stop = s.start(func(ctx context.Context) error { return agent.Run(ctx, config, slog.New(slog.DiscardHandler)) })
}

// sharedFile is the file of the shared certificate, "" where there is none.
func (s *plant) sharedFile() string {
	if s.shared == "" {
		return ""
	}
	return filepath.Join(s.shared, v1alpha1.SharedCertificateKey)
}

func (s *plant) stopNode(node *plantNode) {
	s.Helper()
	node.down.Store(true)
	node.stop()
	node.ready.Store(false) // though it may be started again before it is asked
}

// node is the one with an id.
func (s *plant) node(id string) *plantNode {
	s.Helper()
	for _, node := range s.nodes {
		if node.id == id {
			return node
		}
	}
	s.Fatalf("no node %s", id)
	return nil
}

func get(ctx context.Context, address, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// refusals are the handshakes and connections that the master did not let in, by result and cause.
func (s *plant) refusals() []string {
	s.Helper()
	_, body, err := get(s.ctx, s.masterHealth, "/metrics")
	s.must(err)
	var refused []string
	for line := range strings.Lines(body) {
		counts := strings.HasPrefix(line, "refinery_master_handshakes_total{") || strings.HasPrefix(line, "refinery_master_refused_connections_total{")
		if counts && !strings.Contains(line, `"`+v1alpha1.ReasonAuthenticated+`"`) {
			refused = append(refused, strings.TrimSpace(line))
		}
	}
	return refused
}

// presented is how many nodes of a Refinery present the certificate of its Secret.
func (s *plant) presented(name string) int32 {
	s.Helper()
	r, secret := &v1alpha1.Refinery{}, s.secret(name+"-tls")
	s.must(api.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, r))
	if r.Status.Authenticated == nil {
		return 0
	}
	for _, c := range r.Status.Authenticated.Certificates {
		if c.Fingerprint == leafFingerprint(secret.Data[corev1.TLSCertKey]) {
			return c.Nodes
		}
	}
	return 0
}

func (s *plant) secret(name string) *corev1.Secret {
	s.Helper()
	secret := &corev1.Secret{}
	s.must(api.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, secret))
	return secret
}

func (s *plant) master() *v1alpha1.ClusterMaster {
	s.Helper()
	m := &v1alpha1.ClusterMaster{}
	s.must(api.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "alpha"}, m))
	return m
}

// annotate sets an annotation of the ClusterMaster.
func (s *plant) annotate(key, value string) {
	s.Helper()
	m := s.master()
	before := m.DeepCopy()
	metav1.SetMetaDataAnnotation(&m.ObjectMeta, key, value)
	s.must(api.Patch(s.ctx, m, client.MergeFrom(before)))
}

const plantTimeout = 4 * time.Minute

func (s *plant) until(what string, is func() bool) {
	s.Helper()
	deadline := time.After(plantTimeout)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			s.Fatalf("not %s in time; %s", what, s.describe())
		}
	}
}

// watch notes that an object of a kind has changed. The API server ends a watch when it likes.
func (s *plant) watch(ctx context.Context, kind client.ObjectList) error {
	for ctx.Err() == nil {
		w, err := api.Watch(ctx, kind, client.InNamespace(s.namespace))
		if err != nil {
			return err
		}
		s.changed.Store(true)
		for range w.ResultChan() {
			s.changed.Store(true)
		}
		w.Stop()
	}
	return nil
}

// recheck is how soon the operator looks again although nothing has changed.
const recheck = 2 * time.Second

// drive runs an operator whenever something has changed, until it has nothing to write and all is as wanted, or until it
// crashes. Time flies for it whenever only that is awaited.
func (s *plant) drive(p *process, done func() bool) error {
	s.Helper()
	var crash error
	var looked time.Time
	s.changed.Store(true)
	s.until("done", func() bool {
		if !s.changed.Swap(false) && time.Since(looked) < recheck {
			return false
		}
		looked = time.Now()
		before := p.writes.total()
		for _, reconcile := range p.reconciles {
			if crash = reconcile(s.ctx); crash != nil {
				return true
			}
		}
		if p.writes.total() != before {
			s.changed.Store(true)
			return false
		}
		if done() {
			return true
		}
		const step, limit = 20 * time.Second, 290 * time.Second
		if s.timeIsAwaited() && s.ahead+step <= limit {
			s.ahead += step
			s.clock.SetTime(s.clock.Now().Add(step))
			s.changed.Store(true)
		}
		return false
	})
	return crash
}

// timeIsAwaited reports whether nothing else is: no node, and no master.
func (s *plant) timeIsAwaited() bool {
	s.Helper()
	message := ""
	if c := meta.FindStatusCondition(s.master().Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating); c != nil {
		message = c.Message
	}
	return strings.Contains(message, "have until") ||
		strings.Contains(message, "to be reissued") && !strings.Contains(message, "yet to load")
}

func (s *plant) describe() string {
	var b strings.Builder
	for _, c := range s.master().Status.Conditions {
		fmt.Fprintf(&b, "%s=%s/%s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

// kubelet brings Secrets into directories the way that a kubelet does: all files of a version at once.
type kubelet struct {
	namespace string
	// mounts are the directories of each Secret.
	mounts map[string][]string

	mu sync.Mutex
	// held are directories to which nothing is brought, since their kubelets are down, or a person has to.
	held []string
}

// hold lets directories stay as they are.
func (k *kubelet) hold(directories ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = directories
}

// bring puts a Secret into the directories that mount it, or, with late, into those of them that are held.
func (k *kubelet) bring(secret *corev1.Secret, late bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, directory := range k.mounts[secret.Name] {
		if slices.Contains(k.held, directory) != late {
			continue
		}
		if err := project(secret, directory); err != nil {
			return err
		}
	}
	return nil
}

func (k *kubelet) mount(t *testing.T, secret string) string {
	directory := t.TempDir()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mounts[secret] = append(k.mounts[secret], directory)
	return directory
}

func (k *kubelet) run(ctx context.Context) error {
	w, err := api.Watch(ctx, &corev1.SecretList{}, client.InNamespace(k.namespace))
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		secret, ok := event.Object.(*corev1.Secret)
		if !ok {
			continue
		}
		if err := k.bring(secret, false); err != nil {
			return err
		}
	}
	return errors.New("the watch ended")
}

// project writes a version beside the one before and switches the link ..data over to it.
func project(secret *corev1.Secret, directory string) error {
	version := filepath.Join(directory, "..version_"+secret.ResourceVersion)
	if err := os.Mkdir(version, 0o700); errors.Is(err, os.ErrExist) {
		return nil // it is there
	} else if err != nil {
		return err
	}
	for name, value := range secret.Data {
		if err := os.WriteFile(filepath.Join(version, name), value, 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	link, next := filepath.Join(directory, "..data"), filepath.Join(directory, "..data_tmp")
	former, _ := os.Readlink(link)
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		return err
	}
	if err := os.Rename(next, link); err != nil {
		return err
	}
	if former == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(directory, former))
}
