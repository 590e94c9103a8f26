package certmanager

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// signed is a certificate for the CSR of a CertificateRequest, as status.certificate takes it.
func signed(request *unstructured.Unstructured) string {
	GinkgoHelper()
	encoded, _, err := unstructured.NestedString(request.Object, "spec", "request")
	Expect(err).NotTo(HaveOccurred())
	csrPEM, err := base64.StdEncoding.DecodeString(encoded)
	Expect(err).NotTo(HaveOccurred())
	block, _ := pem.Decode(csrPEM)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	Expect(err).NotTo(HaveOccurred())
	data := authorityData("public")
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	Expect(err).NotTo(HaveOccurred())
	lasting := pkitest.Valid(time.Now(), time.Now().Add(90*24*time.Hour))
	der := pkitest.AuthorityOf(pair).Sign(csr.PublicKey, pkitest.Server(), lasting, func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.URIs = csr.Subject, csr.DNSNames, csr.URIs
	})
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
