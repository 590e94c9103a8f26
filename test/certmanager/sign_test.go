package certmanager

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// signed is a certificate for the CSR of a CertificateRequest, as status.certificate takes it. It is for a server unless an edit
// says otherwise.
func signed(request *unstructured.Unstructured, by *pkitest.Authority, edits ...pkitest.Edit) string {
	GinkgoHelper()
	encoded, _, err := unstructured.NestedString(request.Object, "spec", "request")
	Expect(err).NotTo(HaveOccurred())
	csrPEM, err := base64.StdEncoding.DecodeString(encoded)
	Expect(err).NotTo(HaveOccurred())
	block, _ := pem.Decode(csrPEM)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	Expect(err).NotTo(HaveOccurred())
	asked := []pkitest.Edit{pkitest.Server(), pkitest.Valid(time.Now(), time.Now().Add(90*24*time.Hour)), func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.URIs = csr.Subject, csr.DNSNames, csr.URIs
	}}
	der := by.Sign(csr.PublicKey, append(asked, edits...)...)
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
