package admission

import (
	"net/netip"
	"testing"
)

// whoever has a network has all its addresses, which are one source.
func TestAddressesOfOneNetworkAreOneSource(t *testing.T) {
	for name, row := range map[string]struct {
		a, b string
		same bool
	}{
		"global":                    {"2001:db8::1", "2001:db8::ffff:1", true},
		"global, another network":   {"2001:db8::1", "2001:db8:0:1::1", false},
		"unique local":              {"fd00:10::1", "fd00:10::ffff:1", true},
		"unique local, another one": {"fd00:10::1", "fd00:10:0:1::1", false},
		"link-local":                {"fe80::1", "fe80::2", false},
		"IPv4":                      {"10.0.0.1", "10.0.0.2", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDoor(func() {})
			a, b := d.sourceOf(netip.MustParseAddr(row.a)).network, d.sourceOf(netip.MustParseAddr(row.b)).network
			if (a == b) != row.same {
				t.Errorf("%v and %v", a, b)
			}
		})
	}
}
