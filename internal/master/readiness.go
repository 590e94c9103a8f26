package master

import (
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// notReady says why no nodes are to be placed on an upstream, as a reason and a message for its status; "" for nothing.
func (d *directory) notReady(u admit.Upstream) (reason, message string) {
	if reason, message = d.notAlive(u); reason != "" {
		return reason, message
	}
	if u.Weight == 0 {
		return v1alpha1.ReasonWeightZero, "its weight is 0: only nodes that spec.upstream pins are placed on it"
	}
	return "", ""
}

// notAlive says why there is nothing behind an upstream, as far as is known.
func (d *directory) notAlive(u admit.Upstream) (reason, message string) {
	if u.Service == nil {
		return "", ""
	}
	reason, message, known := d.services.Missing(*u.Service)
	if !known {
		return d.reportedNotAlive(u)
	}
	return reason, message
}

// reportedNotAlive is what status said last. It is gone by while the endpoints are not known, so that a master that has just started
// places nodes as the one before it did.
func (d *directory) reportedNotAlive(u admit.Upstream) (reason, message string) {
	if m := d.Master(); m != nil {
		for i := range m.Status.Upstreams {
			former := &m.Status.Upstreams[i]
			switch {
			case former.Name != u.Name || former.Address != u.Address:
			case former.Ready || former.Reason == v1alpha1.ReasonWeightZero:
				return "", ""
			case former.Reason != "":
				return former.Reason, former.Message
			}
		}
	}
	return v1alpha1.ReasonEndpointsUnknown, fmt.Sprintf("the endpoints of Service %s are not known yet", u.Service.Name)
}
