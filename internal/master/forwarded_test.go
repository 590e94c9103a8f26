package master

import (
	"errors"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/protocol"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

func TestANodeBehindALoadBalancerIsShownByItsOwnAddress(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.7 192.0.2.1 7 34308\r\n"
	trusting := func(networks ...v1alpha1.CIDR) v1alpha1.MasterService {
		return v1alpha1.MasterService{ProxyProtocol: &v1alpha1.ProxyProtocol{Port: 34310, TrustedNetworks: networks}}
	}
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Service: trusting("127.0.0.0/8")})
	certificate := p.refinery("press", 1)
	forwarded := loopback.Reserve(t)
	m := p.start("alpha-0", func(o *Options, _ *rest.Config) { o.ProxyListen = forwarded })
	p.until("listening", func() bool { return listens(forwarded) && listens(m.address) })
	handshake := func(address string) error {
		a := &agent{id: "press/a", version: "0.1.0", certificate: certificate, roots: p.authority, address: address, header: header,
			upstreams: make(chan string, 1)}
		_, err := a.connect(p.ctx)
		return err
	}
	p.until("let in", func() bool { return handshake(forwarded) == nil })
	p.eventually("press", "shown by its own address", func(r *v1alpha1.Refinery) bool {
		return shows("1/1", v1alpha1.ReasonAuthenticated)(r) && r.Status.Nodes[0].Address == "192.0.2.7"
	})
	if err := handshake(m.address); err == nil {
		t.Error("the ordinary port takes a header")
	}
	p.patchMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Service = trusting("192.0.2.0/24") })
	p.until("nobody else is believed", func() bool {
		err := handshake(forwarded)
		return err != nil && !errors.Is(err, protocol.ErrDenied)
	})
}
