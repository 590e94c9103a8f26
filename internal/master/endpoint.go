package master

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// endpointTimeout bounds one look at the endpoint of the Service, and the write that follows.
const endpointTimeout = 5 * time.Second

// endpointBackoff is the time between tries that fail: the operator may not have created the EndpointSlice yet.
var endpointBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 10, Cap: 5 * time.Second}

// publishEndpoint keeps this pod the one endpoint of the Service until ctx is done. A term that ends leaves the endpoint to
// its successor, whose first write replaces it: connects that fail meanwhile fail at once, as the listener is closed.
func (t *activeTerm) publishEndpoint(ctx context.Context) {
	if len(t.master.options.PodIPs) == 0 {
		return
	}
	backoff, failing := endpointBackoff, false
	for {
		written, err := t.ensureEndpoint(ctx)
		pause := t.master.endpointInterval
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = backoff.Step()
			if !failing {
				t.log.Info("cannot make sure that this pod is the endpoint of the Service; trying until it works", "error", err.Error())
			}
			failing = true
		default:
			backoff, failing = endpointBackoff, false
			if written {
				t.log.Info("the endpoint of the Service")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.master.clock.After(pause):
		}
	}
}

// ensureEndpoint makes this pod the one endpoint of the Service, by each family that the Service and the pod have addresses of, and
// reports whether it had to.
func (t *activeTerm) ensureEndpoint(ctx context.Context) (written bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	master := &v1alpha1.ClusterMaster{}
	master.Namespace, master.Name = t.master.options.Namespace, t.master.options.Name
	var errs []error
	for place, name := range master.EndpointSliceNames() {
		wrote, err := t.ensureEndpointIn(ctx, name)
		if place > 0 && apierrors.IsNotFound(err) {
			continue // The Service has one family.
		}
		written = written || wrote
		errs = append(errs, err)
	}
	return written, errors.Join(errs...)
}

// ensureEndpointIn makes this pod the one endpoint in an EndpointSlice, or empties it if the pod has no address of its family. A master
// that was deposed and does not know it yet writes nothing over its successor: the write needs the version that was read before the
// epoch was, and a successor claims its epoch before it writes.
func (t *activeTerm) ensureEndpointIn(ctx context.Context, name string) (written bool, err error) {
	m := t.master
	slice, master := &discoveryv1.EndpointSlice{}, &v1alpha1.ClusterMaster{}
	if err := m.client.Get(ctx, client.ObjectKey{Namespace: m.options.Namespace, Name: name}, slice); err != nil {
		return false, err
	}
	var missing error
	desired := m.options.endpoint(slice.AddressType)
	if desired == nil {
		missing = fmt.Errorf("the Service has %s addresses, and this pod has none of them: %q", slice.AddressType, m.options.PodIPs)
	}
	if same, err := onlyEndpoint(slice, desired); err != nil || same {
		return false, cmp.Or(err, missing)
	}
	if err := m.client.Get(ctx, client.ObjectKey{Namespace: m.options.Namespace, Name: m.options.Name}, master); err != nil {
		return false, err
	}
	if active := master.Status.Active; active != nil && active.Epoch > t.term.Epoch {
		return false, fmt.Errorf("a newer master is active, with epoch %d", active.Epoch)
	}
	apply := discoveryv1ac.EndpointSlice(slice.Name, slice.Namespace).WithResourceVersion(slice.ResourceVersion)
	if desired != nil {
		apply.WithEndpoints(desired)
	}
	if err := m.client.Apply(ctx, apply, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership); err != nil {
		return false, err
	}
	return desired != nil, missing
}

// onlyEndpoint reports whether an EndpointSlice has this endpoint, if there is one, and no other.
func onlyEndpoint(slice *discoveryv1.EndpointSlice, desired *discoveryv1ac.EndpointApplyConfiguration) (bool, error) {
	if desired == nil {
		return len(slice.Endpoints) == 0, nil
	}
	raw, err := json.Marshal(desired)
	if err != nil {
		return false, err
	}
	var want discoveryv1.Endpoint
	if err := json.Unmarshal(raw, &want); err != nil {
		return false, err
	}
	return equality.Semantic.DeepEqual(slice.Endpoints, []discoveryv1.Endpoint{want}), nil
}

// endpoint is this pod with its address of a family, or nil if it has none. The name of the Kubernetes node is for a Service with
// externalTrafficPolicy Local, and the pod for load balancers that send to pods.
func (o Options) endpoint(family discoveryv1.AddressType) *discoveryv1ac.EndpointApplyConfiguration {
	for _, address := range o.PodIPs {
		ip, err := netip.ParseAddr(address)
		if err != nil || ip.Is4() != (family == discoveryv1.AddressTypeIPv4) {
			continue
		}
		endpoint := discoveryv1ac.Endpoint().WithAddresses(ip.String()).
			WithConditions(discoveryv1ac.EndpointConditions().WithReady(true).WithServing(true)).
			WithTargetRef(corev1ac.ObjectReference().WithKind("Pod").WithNamespace(o.Namespace).WithName(o.PodName))
		if o.NodeName != "" {
			endpoint.WithNodeName(o.NodeName)
		}
		return endpoint
	}
	return nil
}
