package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNamesAreThoseThatStandInTheCertificate(t *testing.T) {
	a := newAuthority(t, "plant/alpha")
	uri := func(s string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(s)}
	}
	dns := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("press")}
	for name, test := range map[string]struct {
		names []asn1.RawValue
		want  []string
	}{
		"none":              {[]asn1.RawValue{dns}, nil},
		"case and fragment": {[]asn1.RawValue{uri("SPIFFE://a/refinery/press#")}, []string{"SPIFFE://a/refinery/press#"}},
		"among others":      {[]asn1.RawValue{dns, uri("spiffe://a/x"), dns, uri("spiffe://a/y")}, []string{"spiffe://a/x", "spiffe://a/y"}},
	} {
		t.Run(name, func(t *testing.T) {
			value, err := asn1.Marshal(test.names)
			if err != nil {
				t.Fatal(err)
			}
			c := sign(t, a, x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Value: value}}})[0]
			if diff := cmp.Diff(test.want, Names(c)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := Names(sign(t, a, x509.Certificate{})[0]); got != nil {
		t.Errorf("without the extension: %q", got)
	}
}
