package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// newMapper knows the kinds that a master reads and writes, so that a master needs no API discovery.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, discoveryv1.SchemeGroupVersion, corev1.SchemeGroupVersion})
	mapper.Add(v1alpha1.GroupVersion.WithKind("ClusterMaster"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Refinery"), meta.RESTScopeNamespace)
	mapper.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	return mapper
}

// rewatch is how long a watch that failed waits before it tries again. It does not grow with the number of failures: when the
// API server is back, a revocation ends its session within two seconds.
const rewatch = time.Second

// watches keep what a master knows current with several kinds of objects of its namespace.
type watches struct {
	kinds []*watched
}

// newWatches returns the watches of a directory: one ClusterMaster, by name, and the Refineries that name it, as the master's Role
// allows. They watch nothing before Run.
func newWatches(c client.WithWatch, namespace, name string, d *directory, clk clock.Clock, log logr.Logger) *watches {
	return &watches{kinds: []*watched{
		{client: c, namespace: namespace, selector: fields.OneTermEqualSelector("metadata.name", name), example: &v1alpha1.ClusterMaster{},
			newList: func() client.ObjectList { return &v1alpha1.ClusterMasterList{} }, store: masterStore{d}, clock: clk, log: log, listed: make(chan struct{})},
		{client: c, namespace: namespace, selector: fields.OneTermEqualSelector("spec.masterRef.name", name), example: &v1alpha1.Refinery{},
			newList: func() client.ObjectList { return &v1alpha1.RefineryList{} }, store: refineryStore{d}, clock: clk, log: log, listed: make(chan struct{})},
	}}
}

// newServiceWatches returns the watches of services.
func newServiceWatches(c client.WithWatch, namespace string, s *services, clk clock.Clock, log logr.Logger) *watches {
	return &watches{kinds: []*watched{
		{client: c, namespace: namespace, selector: fields.Everything(), example: &corev1.Service{},
			newList: func() client.ObjectList { return &corev1.ServiceList{} }, store: digestStore[service]{s, &s.byName, digestService},
			clock: clk, log: log, listed: make(chan struct{})},
		{client: c, namespace: namespace, selector: fields.Everything(), example: &discoveryv1.EndpointSlice{},
			newList: func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, store: digestStore[endpointSlice]{s, &s.slices, digestSlice},
			clock: clk, log: log, listed: make(chan struct{})},
	}}
}

// Run watches until ctx is done.
func (w *watches) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, kind := range w.kinds {
		all.Go(func() { kind.run(ctx) })
	}
	all.Wait()
}

// WaitListed returns once the directory holds everything that existed when the watches began.
func (w *watches) WaitListed(ctx context.Context) error {
	for _, kind := range w.kinds {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-kind.listed:
		}
	}
	return nil
}

// Connected reports whether every watch is connected, as far as is known.
func (w *watches) Connected() bool {
	for _, kind := range w.kinds {
		if !kind.isConnected() {
			return false
		}
	}
	return true
}

// watched is the watch of one kind: what the reflector of client-go lists and watches, into a store that is the directory.
//
// Each watch begins with a list, also one that goes on after another that ended. A watch that is resumed shows nothing when the
// resource versions of the API server went back, as they do when etcd is restored from a snapshot.
type watched struct {
	client    client.WithWatch
	namespace string
	selector  fields.Selector
	example   client.Object
	newList   func() client.ObjectList
	store     cache.ReflectorStore
	clock     clock.Clock
	log       logr.Logger
	listed    chan struct{} // closed after the first list

	mu        sync.Mutex
	fresh     bool // a list was read, and no watch began since
	connected bool
	problem   string // that was logged last
}

// errWatchEnded is why a watch is not resumed.
var errWatchEnded = errors.New("the watch has ended; listing again")

// run lists and watches until ctx is done.
func (w *watched) run(ctx context.Context) {
	reflector := cache.NewReflectorWithOptions(w, w.example, &listedStore{w.store, sync.OnceFunc(func() { close(w.listed) })},
		cache.ReflectorOptions{Logger: &w.log, MinWatchTimeout: 30 * time.Minute})
	ctx = logr.NewContext(ctx, w.log.V(2))
	for ctx.Err() == nil {
		began := w.clock.Now()
		err := reflector.ListAndWatchWithContext(ctx)
		w.ended(ctx, err)
		if errors.Is(err, errWatchEnded) && w.clock.Since(began) > rewatch {
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.clock.After(rewatch):
		}
	}
}

// ended notes that there is no watch, and logs why, unless it did for the last one.
func (w *watched) ended(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected = false
	if err == nil || errors.Is(err, errWatchEnded) || ctx.Err() != nil || err.Error() == w.problem {
		return
	}
	w.problem = err.Error()
	w.log.Info("cannot watch; trying again until it works", "kind", fmt.Sprintf("%T", w.example), "error", w.problem)
}

func (w *watched) isConnected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connected
}

// IsWatchListSemanticsUnSupported makes the reflector list, and then watch.
func (w *watched) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext implements cache.ListerWatcherWithContext.
func (w *watched) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list := w.newList()
	err := w.client.List(ctx, list, &client.ListOptions{Namespace: w.namespace, FieldSelector: w.selector, Raw: &options})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh, w.connected = err == nil, false
	return list, err
}

// WatchWithContext implements cache.ListerWatcherWithContext.
func (w *watched) WatchWithContext(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	w.mu.Lock()
	fresh := w.fresh
	w.fresh = false
	w.mu.Unlock()
	if !fresh {
		return nil, errWatchEnded
	}
	watch, err := w.client.Watch(ctx, w.newList(), &client.ListOptions{Namespace: w.namespace, FieldSelector: w.selector, Raw: &options})
	if err != nil {
		return nil, fmt.Errorf("watch: %v", err) //nolint:errorlint // whatever it is, the reflector shall list again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected, w.problem = true, ""
	return watch, nil
}

// List and Watch make it a cache.ListerWatcher; the reflector calls the other two.
func (w *watched) List(options metav1.ListOptions) (runtime.Object, error) {
	return w.ListWithContext(context.Background(), options)
}

// Watch see List.
func (w *watched) Watch(options metav1.ListOptions) (apiwatch.Interface, error) {
	return w.WatchWithContext(context.Background(), options)
}

// listedStore tells when the first list was stored.
type listedStore struct {
	cache.ReflectorStore
	listed func()
}

// Replace implements cache.ReflectorStore.
func (s *listedStore) Replace(objects []any, version string) error {
	defer s.listed()
	return s.ReflectorStore.Replace(objects, version)
}
