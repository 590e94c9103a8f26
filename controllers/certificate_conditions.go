package controllers

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// expiringFrom is how long before its end a certificate is warned of, unless its life is short.
	expiringFrom = 14 * 24 * time.Hour
	// maxNamedNodes is the number of nodes that condition CertificateInSync names.
	maxNamedNodes = 10
)

// expiry is a certificate whose end condition CertificateExpiring may warn of.
type expiry struct {
	certificate *x509.Certificate
	// what it is, with the Secret that holds it.
	what string
	// brought reports whether a person replaces it; all others are renewed by themselves.
	brought bool
	// renewBefore is how long before its end it is renewed, if that is not at two thirds of its life.
	renewBefore time.Duration
	// advice is what a person has to do.
	advice string
}

// from is when the warning begins: 14 days before the end, or, in a life of less than twice that, when a third of it is
// left. One that is renewed by itself is not warned of before half of the time is over that its renewal had.
func (e expiry) from() time.Time {
	before, life := expiringFrom, e.certificate.NotAfter.Sub(e.certificate.NotBefore)
	if !e.brought || life < 2*expiringFrom {
		before = life / 3
	}
	if e.renewBefore > 0 {
		before = min(before, e.renewBefore)
	}
	if !e.brought {
		before = min(expiringFrom, before/2)
	}
	return e.certificate.NotAfter.Add(-before)
}

// message counts whole days, so that it changes once a day.
func (e expiry) message(now time.Time) string {
	end := e.certificate.NotAfter
	left := "less than a day"
	switch days := e.daysLeft(now); {
	case days == 1:
		left = "1 day"
	case days > 1:
		left = fmt.Sprintf("%d days", days)
	}
	return fmt.Sprintf("%s expires in %s, at %s; %s", e.what, left, end.UTC().Format(time.RFC3339), e.advice)
}

func (e expiry) daysLeft(now time.Time) int {
	return int(e.certificate.NotAfter.Sub(now) / (24 * time.Hour))
}

// setExpiring keeps condition CertificateExpiring present only while it is True. What has expired already is
// CertificateReady's to tell.
func (s conditionSet) setExpiring(a *agenda, all ...expiry) {
	var messages []string
	for _, e := range all {
		switch from, end := e.from(), e.certificate.NotAfter; {
		case s.now.After(end):
		case s.now.Before(from):
			a.at(from)
		default:
			messages = append(messages, e.message(s.now))
			if days := e.daysLeft(s.now); days > 0 {
				a.at(end.Add(-time.Duration(days)*24*time.Hour + time.Second))
			}
			a.atFuture(end.Add(time.Second), s.now)
		}
	}
	if len(messages) == 0 {
		meta.RemoveStatusCondition(s.conditions, v1alpha1.ConditionCertificateExpiring)
		return
	}
	s.set(newCondition(v1alpha1.ConditionCertificateExpiring, metav1.ConditionTrue, v1alpha1.ReasonExpiring, strings.Join(messages, "; ")))
}

// refineryExpiry is the certificate that the nodes present, if there is one, or what ends before it of its chain.
func refineryExpiry(s *refineryScope) []expiry {
	found := s.certificate
	if found.leaf == nil {
		return nil
	}
	obtained := s.master.Issuer() != nil && s.refinery.Spec.CertificateSecretRef == nil
	e := expiry{certificate: found.first(), brought: found.secret != "" && !obtained, what: fmt.Sprintf("the certificate in Secret %s", s.refinery.CertificateSecretName())}
	if e.certificate != found.leaf {
		e.what = "an intermediate above " + e.what
	}
	if !e.brought {
		e.renewBefore = s.master.CertificatePeriods().RenewBefore
	}
	switch {
	case e.brought:
		e.advice = "put a new one into it before that"
	case found.condition.Status != metav1.ConditionTrue:
		e.advice = fmt.Sprintf("it was not renewed: %s: %s", found.condition.Reason, found.condition.Message)
	case obtained:
		e.advice = notRenewedByIssuer(s.refinery.IssuedSecretName())
	case s.refinery.Spec.Paused:
		e.advice = "it is not renewed while spec.paused of the Refinery is set"
	default:
		e.advice = fmt.Sprintf("it ends with the certificate authority of ClusterMaster %s, which has to be replaced before that", s.master.Name)
	}
	return []expiry{e}
}

// masterExpiries are the authority and the certificate that the master serves, as far as they are there.
func masterExpiries(s *masterScope) []expiry {
	var all []expiry
	named, brought := s.master.NamedAuthority()
	issuer := s.master.Issuer()
	if s.authority != nil {
		e := expiry{certificate: s.authority.Certificates[0], brought: brought}
		switch {
		case issuer != nil:
			e.brought = true
			e.what = fmt.Sprintf("the certificate authority of %s %s, ca.crt in Secret %s,", issuer.Kind, issuer.Name, s.master.CertificateSecretName())
			e.advice = "everything that it signed ends with it; have the issuer sign by a new one before that"
		case brought:
			e.what = fmt.Sprintf("the certificate authority in Secret %s", named)
			e.advice = "put a new one in front of it in tls.crt before that, and leave it there until every node presents a certificate of the new one"
		default:
			e.what = fmt.Sprintf("the certificate authority in Secret %s", s.master.AuthoritySecretName())
			e.advice = "everything that it signed ends with it; condition CertificateAuthorityRotating tells what holds its replacement up"
		}
		all = append(all, e)
	}
	leaf := s.certificate.leaf
	if leaf == nil || (len(all) > 0 && !leaf.NotAfter.Before(all[0].certificate.NotAfter)) {
		return all // what ends with its authority is told with it
	}
	e := expiry{certificate: leaf, brought: issuer == nil && s.authority != nil && s.authority.Key == nil,
		what: fmt.Sprintf("the certificate that the master serves, in Secret %s,", s.master.CertificateSecretName())}
	if !e.brought {
		e.renewBefore = s.master.CertificatePeriods().RenewBefore
	}
	switch c := s.certificate.condition; {
	case e.brought:
		e.advice = "put a new one into it before that"
	case c.Status != metav1.ConditionTrue:
		e.advice = fmt.Sprintf("it was not renewed: %s: %s", c.Reason, c.Message)
	case issuer != nil:
		e.advice = notRenewedByIssuer(s.master.CertificateSecretName())
	case s.master.Spec.Paused:
		e.advice = "it is not renewed while spec.paused is set"
	default:
		e.advice = "it was not renewed: see the events and the log of the operator"
	}
	return append(all, e)
}

func notRenewedByIssuer(certificate string) string {
	return fmt.Sprintf("cert-manager has not renewed it: see kubectl describe certificate %s", certificate)
}

// setInSync compares what the nodes were seen to present with what they are to present. Without a certificate of
// their own, or with transport ServerTLS, they present none.
func (s conditionSet) setInSync(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, listed []v1alpha1.ListedCertificate) {
	current := currentFingerprint(listed)
	if m == nil {
		return
	}
	if current == "" || m.Spec.Security.Transport == v1alpha1.TransportServerTLS {
		meta.RemoveStatusCondition(s.conditions, v1alpha1.ConditionCertificateInSync)
		return
	}
	older, ids := outdated(&r.Status, listed)
	if older == 0 {
		s.set(newCondition(v1alpha1.ConditionCertificateInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync,
			"every authenticated node presents the current certificate"))
		return
	}
	advice := "they come over when the kubelet has brought them the Secret, mostly within two minutes"
	if r.Spec.Placement == v1alpha1.PlacementExternal {
		advice = "give them the new files of the Secret"
	}
	s.set(newCondition(v1alpha1.ConditionCertificateInSync, metav1.ConditionFalse, v1alpha1.ReasonOutdatedCertificate, fmt.Sprintf(
		"%d of %d authenticated nodes present another certificate than the current one (%.12s…, Secret %s): %s; %s",
		older, max(older, r.Status.Authenticated.Nodes), current, r.CertificateSecretName(), namedNodes(ids, int(older)), advice)))
}

// outdated counts the authenticated nodes that present neither the current certificate nor the one that is about to take
// its place, and names those whose names are known. The count is exact also where status.nodes is cut.
func outdated(status *v1alpha1.RefineryStatus, listed []v1alpha1.ListedCertificate) (count int32, ids []string) {
	if status.Authenticated == nil {
		return 0, nil
	}
	newest := map[string]bool{"": true} // nothing was presented
	for _, c := range listed {
		newest[c.Fingerprint] = c.Use != v1alpha1.CertificatePrevious
	}
	for _, c := range status.Authenticated.Certificates {
		if !newest[c.Fingerprint] {
			count += c.Nodes
		}
	}
	for _, n := range status.Nodes { // sorted by id
		if n.State == v1alpha1.NodeAuthenticated && !newest[n.Certificate] {
			ids = append(ids, n.ID)
		}
	}
	return count, ids[:min(len(ids), int(count))]
}

// namedNodes names at most ten of count nodes.
func namedNodes(ids []string, count int) string {
	ids = ids[:min(len(ids), maxNamedNodes)]
	switch more := count - len(ids); {
	case len(ids) == 0:
		return "none of them among those that status.nodes lists"
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(ids, ", "), more)
	default:
		return strings.Join(ids, ", ")
	}
}
