package certificates

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// DefaultAllowedIssuers are the issuers of cert-manager in the namespace of the ClusterMaster. A ClusterIssuer signs for the
// whole cluster: without more, who may create a ClusterMaster could have it sign by way of the operator, without any
// permission of cert-manager.
const DefaultAllowedIssuers = "Issuer/*"

// maxAllowedIssuers bounds the patterns.
const maxAllowedIssuers = 100

// AllowedIssuers are the issuers that a ClusterMaster may name. The zero value has none.
type AllowedIssuers struct{ patterns []issuerPattern }

// issuerPattern is KIND.GROUP/NAME, where NAME may have '*' in it for any part.
type issuerPattern struct{ kind, group, name string }

// String returns KIND/NAME, with the group only if it is not cert-manager's own.
func (p issuerPattern) String() string {
	if p.group == certManagerGroup {
		return p.kind + "/" + p.name
	}
	return p.kind + "." + p.group + "/" + p.name
}

const certManagerGroup = "cert-manager.io"

var (
	issuerKind  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)
	issuerGroup = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	issuerName  = regexp.MustCompile(`^[-a-z0-9.*]{1,253}$`)
)

// ParseAllowedIssuers reads patterns of the form KIND/NAME or KIND.GROUP/NAME, separated by commas. None: no issuer is allowed.
func ParseAllowedIssuers(text string) (AllowedIssuers, error) {
	var allowed AllowedIssuers
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		kind, name, _ := strings.Cut(word, "/")
		kind, group, grouped := strings.Cut(kind, ".")
		if !grouped {
			group = certManagerGroup
		}
		if !issuerKind.MatchString(kind) || !issuerGroup.MatchString(group) || !issuerName.MatchString(name) {
			return AllowedIssuers{}, fmt.Errorf("%.100q is not a valid pattern: write KIND/NAME or KIND.GROUP/NAME, for example Issuer/* or ClusterIssuer/plant-*", word)
		}
		allowed.patterns = append(allowed.patterns, issuerPattern{kind, group, name})
	}
	if len(allowed.patterns) > maxAllowedIssuers {
		return AllowedIssuers{}, errors.New("there are more than 100 patterns; use '*' in names")
	}
	return allowed, nil
}

// String is what ParseAllowedIssuers reads.
func (a AllowedIssuers) String() string {
	words := make([]string, len(a.patterns))
	for i, p := range a.patterns {
		words[i] = p.String()
	}
	return strings.Join(words, ",")
}

// check returns a *pki.Problem if a ClusterMaster may not name this issuer.
func (a AllowedIssuers) check(issuer v1alpha1.IssuerReference) *pki.Problem {
	for _, p := range a.patterns {
		if named, err := path.Match(p.name, issuer.Name); err == nil && named && p.kind == issuer.Kind && p.group == issuer.Group {
			return nil
		}
	}
	return &pki.Problem{Reason: v1alpha1.ReasonIssuerNotAllowed, Message: fmt.Sprintf(
		"spec.certificates.issuerRef of the ClusterMaster names %s, and this operator is set up to use none but %s: name one of these, or have whoever installed "+
			"the operator allow it (--allowed-issuers); what was issued before stays in use",
		issuerPattern{issuer.Kind, issuer.Group, issuer.Name}, allowedWords(a))}
}

func allowedWords(a AllowedIssuers) string {
	if len(a.patterns) == 0 {
		return "no issuer at all"
	}
	return fmt.Sprintf("%.512s", a)
}
