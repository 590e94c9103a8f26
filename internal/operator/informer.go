package operator

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// longerWatches is by how much watches last longer than the 5 to 10 minutes that informers ask for, since each begins with a list.
const longerWatches = 6

// newInformer returns an informer each of whose watches begins with a list, also one that goes on after another that ended. A
// watch that is resumed shows nothing, without any error, when the resource versions of the API server went back, as they do
// when etcd is restored from a snapshot: not until they have caught up, and never what was lost.
func newInformer(lw cache.ListerWatcher, example runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(&listFirst{ListerWatcherWithContext: cache.ToListerWatcherWithContext(lw), ListerWatcher: lw}, example, resync, indexers)
}

// listFirst refuses a watch without a list before it, so that the informer lists.
type listFirst struct {
	cache.ListerWatcher
	cache.ListerWatcherWithContext
	listed atomic.Bool // since the last watch began
}

// ListWithContext implements cache.ListerWatcherWithContext.
func (l *listFirst) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := l.ListerWatcherWithContext.ListWithContext(ctx, options)
	l.listed.Store(err == nil)
	return list, err
}

// WatchWithContext implements cache.ListerWatcherWithContext.
func (l *listFirst) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	sendsList := options.SendInitialEvents != nil && *options.SendInitialEvents
	if listed := l.listed.Swap(false); !listed && !sendsList {
		return nil, apierrors.NewResourceExpired("the watch has ended; listing again")
	}
	if options.TimeoutSeconds != nil {
		longer := *options.TimeoutSeconds * longerWatches
		options.TimeoutSeconds = &longer
	}
	return l.ListerWatcherWithContext.WatchWithContext(ctx, options)
}
