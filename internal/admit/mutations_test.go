package admit

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

// decide is what a master answers to a chain, given what the Refinery lists; a reason, or "" for auth:ack.
func decide(s *scene, chain [][]byte) string {
	var peer []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "TLS ends the handshake: " + err.Error()
		}
		peer = append(peer, c)
	}
	presented := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0]}))
	_, denial := s.try(attempt{id: "press/a", version: "0.1.0", kind: "refinery", peer: peer, presented: presented})
	if denial == nil {
		return ""
	}
	return denial.Reason
}

func TestOfAllCertificatesOnlyTheExactlyRightOneIsLetIn(t *testing.T) {
	for _, test := range admittest.Mutations() {
		t.Run(test.Name, func(t *testing.T) {
			m, s := admittest.NewMint(), newScene(t)
			right := m.Leaf(m.Trusted)
			s.clock.SetTime(time.Now())
			s.trust = trusting(m.Trusted)
			mutant := test.Make(m)

			s.setRefinery("press", func(*v1alpha1.Refinery) {}, right)
			if got := decide(s, mutant.Certificate); got == "" {
				t.Error("let in, and its fingerprint is not listed")
			}
			if got := decide(s, right.Certificate); got != "" {
				t.Fatalf("the right one is not let in: %s", got)
			}
			// Listed it is let in if it is one of the Refinery's own in all that is read of it, and else not even then.
			listed, err := x509.ParseCertificate(mutant.Certificate[0])
			if err != nil {
				if test.Harmless {
					t.Fatal(err)
				}
				return
			}
			s.setRefinery("press", func(*v1alpha1.Refinery) {}, tls.Certificate{Leaf: listed})
			got := decide(s, mutant.Certificate)
			if (got == "") != test.Harmless {
				t.Errorf("listed: %q", got)
			}
		})
	}
}
