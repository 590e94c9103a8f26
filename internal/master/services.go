package master

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// services are the Services of the namespace and which of their endpoints are ready. Watches keep them current while an upstream is
// a Service. When a watch fails they stay as they were.
type services struct {
	// changed is called after something changed that may make an upstream ready, or no longer. It must not block.
	changed func()

	mu     sync.RWMutex
	byName map[string]service       // nil before they have been listed
	slices map[string]endpointSlice // the same
}

// service is what is of interest in a Service.
type service struct {
	external bool             // it is another name of a host, and has no endpoints
	headless bool             // its port is that of its endpoints
	ports    map[int32]string // of TCP: the port's name, as EndpointSlices have it, by number
}

// endpointSlice is what is of interest in an EndpointSlice.
type endpointSlice struct {
	service string
	ready   bool             // one of its endpoints is
	ports   map[string]int32 // of TCP: the endpoints' port by name; 0 for any
}

// Missing says what a Service lacks to be of use at a port, as a reason and a message; "" for nothing. It is not known before
// everything has been listed.
func (s *services) Missing(at v1alpha1.UpstreamService) (reason, message string, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.byName == nil || s.slices == nil {
		return "", "", false
	}
	reason, message = s.missing(at)
	return reason, message, true
}

func (s *services) missing(at v1alpha1.UpstreamService) (reason, message string) {
	found, ok := s.byName[at.Name]
	name, has := found.ports[at.Port]
	switch {
	case !ok:
		return v1alpha1.ReasonServiceNotFound, fmt.Sprintf("Service %s does not exist", at.Name)
	case found.external:
		return "", ""
	case !has && !found.headless:
		return v1alpha1.ReasonServiceNotFound, fmt.Sprintf("Service %s has no TCP port %d", at.Name, at.Port)
	}
	for _, slice := range s.slices {
		if slice.service == at.Name && slice.ready && (found.headless && slice.listens(at.Port) || !found.headless && slice.has(name)) {
			return "", ""
		}
	}
	return v1alpha1.ReasonNoReadyEndpoint, fmt.Sprintf("Service %s has no ready endpoint for port %d", at.Name, at.Port)
}

func (s *endpointSlice) has(port string) bool {
	_, has := s.ports[port]
	return has
}

// listens reports whether endpoints listen on a port. Those of a headless Service without ports say nothing about that.
func (s *endpointSlice) listens(port int32) bool {
	return len(s.ports) == 0 || slices.ContainsFunc(slices.Collect(maps.Values(s.ports)), func(p int32) bool { return p == port || p == 0 })
}

// Forget drops everything, as nobody watches any more.
func (s *services) Forget() {
	s.mu.Lock()
	s.byName, s.slices = nil, nil
	s.mu.Unlock()
}

func digestService(object any) (service, error) {
	o, ok := object.(*corev1.Service)
	if !ok {
		return service{}, fmt.Errorf("%T is not a Service", object)
	}
	found := service{external: o.Spec.Type == corev1.ServiceTypeExternalName, headless: o.Spec.ClusterIP == corev1.ClusterIPNone, ports: map[int32]string{}}
	for _, p := range o.Spec.Ports {
		if p.Protocol == corev1.ProtocolTCP {
			found.ports[p.Port] = p.Name
		}
	}
	return found, nil
}

func digestSlice(object any) (endpointSlice, error) {
	o, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return endpointSlice{}, fmt.Errorf("%T is not an EndpointSlice", object)
	}
	slice := endpointSlice{service: o.Labels[discoveryv1.LabelServiceName], ports: map[string]int32{}}
	slice.ready = slices.ContainsFunc(o.Endpoints, func(e discoveryv1.Endpoint) bool { return ptr.Deref(e.Conditions.Ready, true) })
	for _, p := range o.Ports {
		if ptr.Deref(p.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP {
			slice.ports[ptr.Deref(p.Name, "")] = ptr.Deref(p.Port, 0)
		}
	}
	return slice, nil
}

// digestStore puts what the reflector reads of one kind into services.
type digestStore[T any] struct {
	services *services
	kept     *map[string]T // a field of services
	digest   func(object any) (T, error)
}

// Add implements cache.ReflectorStore. Most changes of an EndpointSlice make no difference: one of many endpoints comes or goes.
func (s digestStore[T]) Add(object any) error {
	o, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	of, err := s.digest(object)
	if err != nil {
		return err
	}
	s.change(func() bool {
		before, known := (*s.kept)[o.GetName()]
		(*s.kept)[o.GetName()] = of
		return !known || !reflect.DeepEqual(before, of)
	})
	return nil
}

// Update implements cache.ReflectorStore.
func (s digestStore[T]) Update(object any) error { return s.Add(object) }

// Delete implements cache.ReflectorStore.
func (s digestStore[T]) Delete(object any) error {
	o, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	s.change(func() bool {
		delete(*s.kept, o.GetName())
		return true
	})
	return nil
}

// Replace implements cache.ReflectorStore.
func (s digestStore[T]) Replace(objects []any, _ string) error {
	all := make(map[string]T, len(objects))
	for _, object := range objects {
		o, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		if all[o.GetName()], err = s.digest(object); err != nil {
			return err
		}
	}
	s.change(func() bool {
		differs := *s.kept == nil || !reflect.DeepEqual(*s.kept, all)
		*s.kept = all
		return differs
	})
	return nil
}

// Resync implements cache.ReflectorStore.
func (s digestStore[T]) Resync() error { return nil }

func (s digestStore[T]) change(apply func() bool) {
	s.services.mu.Lock()
	changed := apply()
	s.services.mu.Unlock()
	if changed {
		s.services.changed()
	}
}
