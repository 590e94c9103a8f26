package pki

import (
	"crypto/x509"
	"testing"
)

func TestIntermediatesLeadFromTheLeafToAnAnchor(t *testing.T) {
	a, other := newAuthority(t, "plant/alpha"), newAuthority(t, "plant/alpha")
	_, chain := client(t, a)
	leaf, anchor, stranger := chain[0], a.Certificates[0], other.Certificates[0]
	for name, test := range map[string]struct {
		chain   []*x509.Certificate
		anchors []*x509.Certificate
		want    int // -1: an error
	}{
		"the leaf alone":                     {[]*x509.Certificate{leaf}, []*x509.Certificate{anchor}, 0},
		"with its anchor":                    {[]*x509.Certificate{leaf, anchor}, []*x509.Certificate{anchor}, 0},
		"with a stranger":                    {[]*x509.Certificate{leaf, stranger}, []*x509.Certificate{anchor}, 0},
		"one of two anchors of one name":     {[]*x509.Certificate{leaf, stranger}, []*x509.Certificate{stranger, anchor}, 0},
		"no anchor of its own":               {[]*x509.Certificate{leaf, anchor}, []*x509.Certificate{stranger}, -1},
		"an anchor that signed another only": {[]*x509.Certificate{leaf, stranger}, []*x509.Certificate{stranger}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Intermediates(test.chain, test.anchors)
			if (err != nil) != (test.want < 0) || (err == nil && len(got) != test.want) {
				t.Errorf("%d intermediates, %v", len(got), err)
			}
		})
	}
}
