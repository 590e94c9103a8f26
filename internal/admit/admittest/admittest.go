// Package admittest has what tests of admission and of the master need: the ClusterMaster plant/alpha, its Refineries, and
// certificates of all kinds for them.
package admittest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// ClusterMaster is plant/alpha, which accepts versions ">=0.1.0 <0.2.0".
func ClusterMaster(edits ...func(*v1alpha1.ClusterMaster)) *v1alpha1.ClusterMaster {
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
	m.Spec.Protocol.AcceptedVersions = ">=0.1.0 <0.2.0"
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// Refinery is one of plant/alpha that lists these certificates.
func Refinery(name string, edit func(*v1alpha1.Refinery), listed ...tls.Certificate) *v1alpha1.Refinery {
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name},
		Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Access: v1alpha1.AccessAllowed}}
	for _, c := range listed {
		r.Status.Certificates = append(r.Status.Certificates, v1alpha1.ListedCertificate{
			Fingerprint: v1alpha1.Fingerprint(c.Leaf), NotAfter: metav1.NewTime(c.Leaf.NotAfter), Use: v1alpha1.CertificateCurrent})
	}
	edit(r)
	return r
}

// Issue makes the certificate of a Refinery of plant/alpha.
func Issue(by *pkitest.Authority, refinery string, edits ...pkitest.Edit) tls.Certificate {
	return IssueFor(by, "alpha", "plant", refinery, edits...)
}

// IssueFor makes the certificate of a Refinery of any master in any namespace.
func IssueFor(by *pkitest.Authority, master, namespace, refinery string, edits ...pkitest.Edit) tls.Certificate {
	identity := v1alpha1.RefineryIdentity(master, namespace, refinery).String()
	return by.Issue(append([]pkitest.Edit{pkitest.Named(refinery), pkitest.Client(identity)}, edits...)...)
}

// PEM is one certificate as a node sends it in auth:start.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
