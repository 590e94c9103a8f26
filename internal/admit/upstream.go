package admit

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Upstream is a target that nodes are told to connect to.
type Upstream struct {
	// Name is how a Refinery pins it and how status shows it.
	Name string
	// Address is what nodes are told, as host:port.
	Address string
	// Weight against the others. 0: only nodes that are pinned to it are placed on it.
	Weight int32
	// Types are the node types it takes; none means all.
	Types []string
	// Service whose endpoints say whether it is alive; nil where nobody looks.
	Service *v1alpha1.UpstreamService
}

func (u Upstream) takes(nodeType string) bool {
	return len(u.Types) == 0 || slices.Contains(u.Types, nodeType)
}

// defaultUpstream is the name of the only upstream of a master whose spec names none: its own Service.
const defaultUpstream = "default"

// upstreams are those of the spec, or the master's own Service when it has none.
func upstreams(m *v1alpha1.ClusterMaster) []Upstream {
	if len(m.Spec.Upstreams) == 0 {
		port := cmp.Or(m.Spec.Service.Port, v1alpha1.DefaultPort)
		return []Upstream{{Name: defaultUpstream, Address: serviceAddress(m.Name, m.Namespace, port), Weight: 1}}
	}
	result := make([]Upstream, 0, len(m.Spec.Upstreams))
	for _, u := range m.Spec.Upstreams {
		placed := Upstream{Name: u.Name, Address: u.Address, Weight: ptr.Deref(u.Weight, 1), Types: u.Types}
		if u.Service != nil {
			placed.Address, placed.Service = serviceAddress(u.Service.Name, m.Namespace, u.Service.Port), u.Service
		}
		result = append(result, placed)
	}
	return result
}

func serviceAddress(name, namespace string, port int32) string {
	return net.JoinHostPort(name+"."+namespace+".svc", strconv.Itoa(int(port)))
}
