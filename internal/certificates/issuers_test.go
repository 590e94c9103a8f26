package certificates

import (
	"strings"
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func TestIssuersAreAllowedByKindGroupAndName(t *testing.T) {
	const group = "cert-manager.io"
	for _, tc := range []struct {
		allowed string
		issuer  v1alpha1.IssuerReference
		want    bool
	}{
		{DefaultAllowedIssuers, v1alpha1.IssuerReference{Kind: "Issuer", Name: "plant", Group: group}, true},
		{DefaultAllowedIssuers, v1alpha1.IssuerReference{Kind: "ClusterIssuer", Name: "plant", Group: group}, false},
		{DefaultAllowedIssuers, v1alpha1.IssuerReference{Kind: "Issuer", Name: "plant", Group: "example.com"}, false},
		{DefaultAllowedIssuers, v1alpha1.IssuerReference{Kind: "Issuer", Name: "a/b", Group: group}, false},
		{"Issuer/*, ClusterIssuer/plant-*", v1alpha1.IssuerReference{Kind: "ClusterIssuer", Name: "plant-east", Group: group}, true},
		{"ClusterIssuer/plant-*", v1alpha1.IssuerReference{Kind: "ClusterIssuer", Name: "corp", Group: group}, false},
		{"ClusterIssuer/plant", v1alpha1.IssuerReference{Kind: "ClusterIssuer", Name: "plant.east", Group: group}, false},
		{"ClusterIssuer.cert-manager.io/plant", v1alpha1.IssuerReference{Kind: "ClusterIssuer", Name: "plant", Group: group}, true},
		{"StepIssuer.certmanager.step.sm/*", v1alpha1.IssuerReference{Kind: "StepIssuer", Name: "plant", Group: "certmanager.step.sm"}, true},
		{"StepIssuer/*", v1alpha1.IssuerReference{Kind: "StepIssuer", Name: "plant", Group: "certmanager.step.sm"}, false},
		{"", v1alpha1.IssuerReference{Kind: "Issuer", Name: "plant", Group: group}, false},
	} {
		allowed, err := ParseAllowedIssuers(tc.allowed)
		if err != nil {
			t.Fatal(err)
		}
		p := allowed.check(tc.issuer)
		if (p == nil) != tc.want {
			t.Errorf("%q, %+v: %v", tc.allowed, tc.issuer, p)
		}
		if p != nil && p.Reason != v1alpha1.ReasonIssuerNotAllowed {
			t.Errorf("reason %s", p.Reason)
		}
		if again, err := ParseAllowedIssuers(allowed.String()); err != nil || again.String() != allowed.String() {
			t.Errorf("%q is read as %q (%v)", allowed, again, err)
		}
	}
}

func TestPatternsOfIssuersAreBoundedAndWellFormed(t *testing.T) {
	for _, text := range []string{"*", "Issuer", "Issuer/", "/plant", "Issuer/[a]", "Issuer/a/b", "Issuer./plant", "Issuer/Plant", "Issuer/" + strings.Repeat("a", 254), strings.Repeat("Issuer/a,", 101)} {
		if allowed, err := ParseAllowedIssuers(text); err == nil {
			t.Errorf("%.40q: %v", text, allowed)
		}
	}
}
