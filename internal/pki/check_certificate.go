package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxNamed bounds how many names of a stranger's certificate are repeated in a message.
const maxNamed = 3

// VerifyClient checks that chain, leaf first, authenticates identity as a TLS client now: what CheckClient does,
// validity, signature by the authority, usage, and exactly one URI SAN. A failure is a *Problem.
func (a *Authority) VerifyClient(chain []*x509.Certificate, identity *url.URL, now time.Time) error {
	if _, err := NewAnchors(a.Certificates).ClientChains(chain, now); err != nil {
		return err
	}
	found := Names(chain[0])
	if len(found) == 1 && found[0] == identity.String() {
		return nil
	}
	return problemf(v1alpha1.ReasonWrongIdentity,
		"the certificate %s has to have exactly one URI SAN, %q, and has %s; put in one that is issued for this Refinery",
		nameOf(chain[0]), identity.String(), listNames(found))
}

// VerifyServer checks that chain, leaf first, authenticates all the DNS names and IP addresses as a TLS server now. A name
// with a wildcard counts as it does in TLS (RFC 9525, section 6.3). A failure is a *Problem.
func (a *Authority) VerifyServer(chain []*x509.Certificate, names []string, now time.Time) error {
	if _, err := NewAnchors(a.Certificates).verify(chain[0], chain[1:], x509.ExtKeyUsageServerAuth, "server", now); err != nil {
		return err
	}
	var missing []string
	for _, name := range names {
		if chain[0].VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return problemf(v1alpha1.ReasonWrongIdentity,
			"the certificate %s is not valid for %s, by which nodes verify the master; its names are %s; put in one that is",
			nameOf(chain[0]), strings.Join(missing, ", "), listNames(serverNames(chain[0])))
	}
	return nil
}

// IsFor reports whether the DNS names and IP addresses of a certificate are these, in any order.
func IsFor(c *x509.Certificate, names []string) bool {
	return sets.New(serverNames(c)...).Equal(sets.New(names...))
}

// serverNames are the DNS names and IP addresses of a certificate.
func serverNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// verify returns every chain from leaf over certificates above it to an anchor. role is usage in words.
func (a *Anchors) verify(leaf *x509.Certificate, above []*x509.Certificate, usage x509.ExtKeyUsage, role string, now time.Time) ([][]*x509.Certificate, error) {
	if err := checkValidity(leaf, now); err != nil {
		return nil, err
	}
	intermediates := x509.NewCertPool()
	for _, c := range above {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         a.pool,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err == nil {
		return chains, nil
	}
	if p := constrained(err, leaf, slices.Concat(above, a.certificates), usage, role); p != nil {
		return nil, p
	}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return nil, problemf(v1alpha1.ReasonWrongUsage,
			"the certificate %s may not be used for TLS %s authentication; put in one whose extended key usage has it", nameOf(leaf), role)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, problemf(v1alpha1.ReasonExpired, "the certificate %s above %s is valid from %s to %s; put in a chain that is valid now",
			nameOf(invalid.Cert), nameOf(leaf), invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	default:
		return nil, a.untrusted(leaf)
	}
}

// constrained returns a *Problem if err is about a constraint of an authority above leaf, and nil if err has another
// cause.
func constrained(err error, leaf *x509.Certificate, above []*x509.Certificate, usage x509.ExtKeyUsage, role string) error {
	const advice = "use a certificate authority without that constraint"
	var invalid x509.CertificateInvalidError
	var unhandled x509.UnhandledCriticalExtension
	switch isInvalid := errors.As(err, &invalid); {
	case isInvalid && invalid.Reason == x509.IncompatibleUsage && allows(leaf, usage):
		for _, c := range above {
			if !allows(c, usage) {
				return problemf(v1alpha1.ReasonAuthorityConstrained,
					"the extended key usage of the certificate authority %s does not allow TLS %s authentication, so the certificate %s is not valid for it; %s",
					nameOf(c), role, nameOf(leaf), advice)
			}
		}
	case isInvalid && invalid.Reason == x509.CANotAuthorizedForThisName:
		return problemf(v1alpha1.ReasonAuthorityConstrained,
			"the name constraints of the certificate authority forbid the certificate %s: %.512s; %s", nameOf(leaf), invalid.Detail, advice)
	case isInvalid && invalid.Reason == x509.TooManyIntermediates:
		return problemf(v1alpha1.ReasonAuthorityConstrained,
			"the path length of the certificate authority %s forbids the intermediates between it and the certificate %s; %s",
			nameOf(invalid.Cert), nameOf(leaf), advice)
	case isInvalid && invalid.Reason == x509.NoValidChains:
		return problemf(v1alpha1.ReasonAuthorityConstrained,
			"the certificate authority has constraints that the certificate %s does not meet: %.512s; %s", nameOf(leaf), invalid.Detail, advice)
	case errors.As(err, &unhandled):
		for _, c := range above {
			if len(c.UnhandledCriticalExtensions) > 0 {
				return problemf(v1alpha1.ReasonAuthorityConstrained,
					"the certificate authority %s has a critical extension that is not supported, %v%s; %s",
					nameOf(c), c.UnhandledCriticalExtensions[0], extensionHint(c.UnhandledCriticalExtensions[0]), advice)
			}
		}
	}
	return nil
}

// allows reports whether the extended key usage of a certificate includes usage. A certificate without extended key
// usage allows every usage.
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// oidNameConstraints is id-ce-nameConstraints (RFC 5280, section 4.2.1.10).
var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// extensionHint says in words what an extension is.
func extensionHint(id asn1.ObjectIdentifier) string {
	if id.Equal(oidNameConstraints) {
		return " (name constraints of a kind that cannot be checked, such as directory names)"
	}
	return ""
}

func checkValidity(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) {
		return problemf(v1alpha1.ReasonNotYetValid, "the certificate %s is not valid before %s; wait, or correct the clocks", nameOf(c), c.NotBefore.UTC().Format(time.RFC3339))
	}
	if now.After(c.NotAfter) {
		return problemf(v1alpha1.ReasonExpired, "the certificate %s expired on %s; put in a new one", nameOf(c), c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func listNames(names []string) string {
	names = slices.Clone(names)
	for i := range names {
		names[i] = fmt.Sprintf("%.256q", names[i])
	}
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > maxNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), n-maxNamed)
	default:
		return strings.Join(names, ", ")
	}
}

// nameOf is the subject for people; it is quoted because a stranger wrote it.
func nameOf(c *x509.Certificate) string {
	return fmt.Sprintf("%.256q", c.Subject.String())
}

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280, section 4.2.1.6), and tagURI the tag of its choice
// uniformResourceIdentifier.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

const tagURI = 6

// Names are the URI SANs of a certificate as they stand in it. x509.Certificate.URIs are parsed: another case of the
// scheme, or an empty fragment, is gone from them.
func Names(c *x509.Certificate) []string {
	var found []string
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return nil // x509 parsed it before
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI {
				found = append(found, string(name.Bytes))
			}
		}
	}
	return found
}
