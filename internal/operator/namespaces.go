package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
)

// requestTimeout bounds one question to the API server.
const requestTimeout = 10 * time.Second

// namespaces are those that the operator is told to watch, and which of them it can: one that was deleted took its RoleBinding
// with it.
type namespaces struct {
	names   []string // none: all there are, which can be watched or not as one
	log     logr.Logger
	watched *prometheus.GaugeVec

	mu      sync.Mutex
	lacking map[string]error // why one cannot be watched
}

func newNamespaces(names []string, log logr.Logger) *namespaces {
	return &namespaces{names: names, log: log, lacking: map[string]error{},
		watched: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_namespace_watched",
			Help: "1 for a namespace of --watch-namespaces that can be watched, 0 for one that cannot; none if all namespaces are watched."},
			[]string{"namespace"})}
}

// Look returns which namespaces can be watched, and says so where that has changed. If none can, or the API server does not
// answer, that is an error.
func (n *namespaces) Look(ctx context.Context, l *look) (can []string, err error) {
	if len(n.names) == 0 {
		return nil, nil
	}
	lacking := map[string]error{}
	for _, name := range n.names {
		switch err := l.at(ctx, name); {
		case err == nil:
			can = append(can, name)
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
			lacking[name] = fmt.Errorf("namespace %s cannot be watched, was it or its RoleBinding deleted? %w", name, err)
		default:
			return nil, err
		}
	}
	n.set(lacking)
	if len(can) == 0 {
		return nil, n.Why()
	}
	return can, nil
}

func (n *namespaces) set(lacking map[string]error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.names {
		why, before := lacking[name], n.lacking[name]
		switch {
		case why != nil && before == nil:
			n.log.Info("a namespace cannot be watched; the others can, and this one is looked for again", "namespace", name, "reason", why.Error())
		case why == nil && before != nil:
			n.log.Info("a namespace can be watched again", "namespace", name)
		}
		value := 1.
		if why != nil {
			value = 0
		}
		n.watched.WithLabelValues(name).Set(value)
	}
	n.lacking = lacking
}

// Why names the namespaces that cannot be watched and the reasons, or is nil.
func (n *namespaces) Why() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var reasons []error
	for _, name := range slices.Sorted(maps.Keys(n.lacking)) {
		reasons = append(reasons, n.lacking[name])
	}
	return errors.Join(reasons...)
}

// look asks the API server about what the operator watches, in the way in which it will be watched.
type look struct {
	client client.Client
	kinds  []schema.GroupVersionKind
}

// newLook fails if the API server does not answer, or does not know the kinds of the operator.
func newLook(config *rest.Config) (*look, error) {
	config = rest.CopyConfig(config)
	config.Timeout = requestTimeout
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	l := &look{client: c}
	watched := []client.Object{&v1alpha1.ClusterMaster{}, &v1alpha1.Refinery{}}
	for _, owned := range controllers.Owned {
		watched = append(watched, owned...)
	}
	for _, object := range watched {
		kind, err := apiutil.GVKForObject(object, scheme)
		if err != nil {
			return nil, err
		}
		if slices.Contains(l.kinds, kind) {
			continue
		}
		if _, err := c.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("it does not know kind %s: apply config/crd/bases first", kind.Kind)
		} else if err != nil {
			return nil, err
		}
		l.kinds = append(l.kinds, kind)
	}
	slices.SortFunc(l.kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return l, nil
}

// at returns why a namespace cannot be watched, or nil.
func (l *look) at(ctx context.Context, namespace string) error {
	for _, kind := range l.kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := l.client.List(ctx, list, client.InNamespace(namespace), client.Limit(1)); err != nil {
			return err
		}
	}
	return nil
}
