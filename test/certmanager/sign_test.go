package certmanager

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/refinery-operator/refinery-operator/internal/pki"
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
	authority, err := pki.ParseAuthority(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey], time.Now())
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: csr.Subject, DNSNames: csr.DNSNames, URIs: csr.URIs,
		NotBefore: time.Now(), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Certificates[0], csr.PublicKey, authority.Key)
	Expect(err).NotTo(HaveOccurred())
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
