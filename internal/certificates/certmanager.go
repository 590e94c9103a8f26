package certificates

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// CertManager knows whether the cluster has cert-manager, and wakes those whose Certificates change. It asks the
// API server's discovery, which needs no permission: once, and every so often while an issuer is named and
// cert-manager is not there. That it is taken away shows in the watch of Certificates.
type CertManager struct {
	served   func(context.Context) (bool, error)
	newCache func(toolscache.WatchErrorHandlerWithContext) (cache.Cache, error)
	interval time.Duration

	look chan struct{}

	mu sync.Mutex
	// asked reports whether served has answered, installed what, and wanted that an issuer is named somewhere.
	asked, installed, wanted bool
	// certificates has the metadata of the operator's own; nil until it has all of it.
	certificates client.Reader
	subscribers  []subscriber
}

// subscriber is a controller whose objects own Certificates.
type subscriber struct {
	kind  string
	queue workqueue.TypedRateLimitingInterface[ctrlreconcile.Request]
	users func(context.Context) []ctrlreconcile.Request
}

// NewCertManager returns a CertManager that has asked nothing yet. served reports whether the API server has kind
// Certificate. newCache makes a cache of the metadata of the operator's Certificates. While cert-manager is needed and
// missing, the API server is asked again after each interval.
func NewCertManager(served func(context.Context) (bool, error),
	newCache func(toolscache.WatchErrorHandlerWithContext) (cache.Cache, error), interval time.Duration,
) *CertManager {
	return &CertManager{served: served, newCache: newCache, interval: interval, look: make(chan struct{}, 1)}
}

// errNotAsked reports that it is not known yet whether the cluster has cert-manager.
var errNotAsked = fmt.Errorf("whether the cluster has cert-manager: %w", reconcile.ErrTooEarly)

// Installed reports whether the cluster has cert-manager, on behalf of someone who names an issuer.
func (c *CertManager) Installed() (bool, error) {
	if c == nil {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.wanted {
		c.wanted = true
		c.lookAgain()
	}
	if !c.asked {
		return false, errNotAsked
	}
	return c.installed, nil
}

// holds reports whether the operator has a Certificate of this name. It returns false while that is not known: if there
// is one, its owner is woken as soon as the cache sees it.
func (c *CertManager) holds(ctx context.Context, key client.ObjectKey) (bool, error) {
	if c == nil {
		return false, nil
	}
	c.mu.Lock()
	certificates := c.certificates
	c.mu.Unlock()
	if certificates == nil {
		return false, nil
	}
	err := certificates.Get(ctx, key, certificateMetadata())
	return err == nil, client.IgnoreNotFound(err)
}

// lookAgain makes Start ask the API server again soon whether it has cert-manager.
func (c *CertManager) lookAgain() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// Source wakes the objects of a kind: the owner of a Certificate that changed, and, when cert-manager comes or
// goes, all those that users lists.
func (c *CertManager) Source(kind string, users func(context.Context) []ctrlreconcile.Request) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[ctrlreconcile.Request]) error {
		if c != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.subscribers = append(c.subscribers, subscriber{kind, queue, users})
		}
		return nil
	})
}

// Start runs until ctx is done.
func (c *CertManager) Start(ctx context.Context) error {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		served, err := c.served(ctx)
		if err != nil {
			log.FromContext(ctx).V(1).Info("The API server does not say whether it has cert-manager; asking again", "cause", err.Error())
		} else {
			c.set(ctx, served)
		}
		if served {
			if err := c.watch(ctx); err != nil {
				log.FromContext(ctx).Info("Certificates cannot be watched; trying again", "cause", err.Error())
			}
		}
		again := ticker.C
		if c.idle() {
			again = nil
		}
		select {
		case <-ctx.Done():
		case <-c.look:
		case <-again:
		}
	}
	return nil
}

// idle reports whether cert-manager is missing and nobody needs it.
func (c *CertManager) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked && !c.installed && !c.wanted
}

// set records the API server's answer, and wakes the users of cert-manager if the answer changed.
func (c *CertManager) set(ctx context.Context, installed bool) {
	c.mu.Lock()
	changed := c.asked && c.installed != installed
	c.asked, c.installed = true, installed
	if !installed {
		c.certificates = nil
	}
	subscribers := c.subscribers
	c.mu.Unlock()
	if !changed {
		return
	}
	log.FromContext(ctx).Info("cert-manager was installed or removed", "installed", installed)
	for _, s := range subscribers {
		for _, request := range s.users(ctx) {
			s.queue.Add(request)
		}
	}
}

// watch follows Certificates until the API server does not have their kind any more.
func (c *CertManager) watch(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	certificates, err := c.newCache(c.watchFailed)
	if err != nil {
		return fmt.Errorf("watch Certificates: %w", err)
	}
	informer, err := certificates.GetInformer(ctx, certificateMetadata(), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Certificates: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- certificates.Start(ctx) }()
	go func() {
		if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return
		}
		c.mu.Lock()
		c.certificates = certificates
		c.mu.Unlock()
		// The handler is told of all that is there already, so who found none before looks again.
		_, _ = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{ // it fails when the informer has stopped
			AddFunc:    c.wakeOwner,
			UpdateFunc: func(_, after any) { c.wakeOwner(after) },
			DeleteFunc: c.wakeOwner,
		})
	}()
	c.untilGone(ctx)
	stop()
	return <-ended
}

// untilGone returns when the API server does not have kind Certificate any more.
func (c *CertManager) untilGone(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.look:
			if served, err := c.served(ctx); err == nil && !served {
				c.set(ctx, false)
				return
			}
		}
	}
}

// watchFailed handles an error of the watch. If the kind Certificate may be gone, it has the API server asked.
func (c *CertManager) watchFailed(ctx context.Context, reflector *toolscache.Reflector, err error) {
	if isKindMissing(err) {
		c.lookAgain()
		return
	}
	toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
}

// isKindMissing reports whether an error may mean that the API server does not have a kind. The error for an object
// that does not exist can look the same.
func isKindMissing(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }

func (c *CertManager) wakeOwner(object any) {
	if tombstone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	certificate, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return
	}
	owner := metav1.GetControllerOf(certificate)
	if owner == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subscribers {
		if s.kind == owner.Kind {
			s.queue.Add(ctrlreconcile.Request{NamespacedName: client.ObjectKey{Namespace: certificate.Namespace, Name: owner.Name}})
		}
	}
}

func certificateMetadata() *metav1.PartialObjectMetadata {
	certificate := &metav1.PartialObjectMetadata{}
	certificate.SetGroupVersionKind(resource.CertificateKind)
	return certificate
}
