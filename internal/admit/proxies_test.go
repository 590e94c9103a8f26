package admit

import (
	"fmt"
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func TestNobodyIsBelievedByANetworkThatStandsForEverybody(t *testing.T) {
	m := &v1alpha1.ClusterMaster{}
	m.Spec.Service.ProxyProtocol = &v1alpha1.ProxyProtocol{TrustedNetworks: []v1alpha1.CIDR{"0.0.0.0/0", "::/0", "balancer", "192.0.2.0/24", "fd00::/8"}}
	if got := fmt.Sprint(NewPolicy(m).Proxies); got != "[192.0.2.0/24 fd00::/8]" {
		t.Errorf("believed: %s", got)
	}
}
