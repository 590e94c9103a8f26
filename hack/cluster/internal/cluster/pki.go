package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"time"
)

// lifetime of every certificate. Each `up` creates a new cluster.
const lifetime = 365 * 24 * time.Hour

func pkiFile(name string) string { return under("pki", name) }

// authority signs the certificates of one trust domain.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// certificateRequest is what one component's certificate says.
type certificateRequest struct {
	file          string // pki/<file>.crt and .key
	commonName    string // user name, for a client
	organizations []string
	addresses     []net.IP // none: a client's certificate only
	names         []string
}

// clusterCertificates are signed by the cluster's authority, whom the API server and the kubelet trust.
func clusterCertificates() []certificateRequest {
	return []certificateRequest{
		{
			file: "apiserver", commonName: apiServer,
			addresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(nodeIP), net.ParseIP(apiServiceIP)},
			names:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		},
		{file: "kubelet-server", commonName: "system:node:" + NodeName, addresses: []net.IP{net.ParseIP(nodeIP)}, names: []string{NodeName}},
		{file: "kubelet-client", commonName: "kube-apiserver-kubelet-client", organizations: []string{"system:masters"}},
		{file: "admin", commonName: "kubernetes-admin", organizations: []string{"system:masters"}},
		{file: kubelet, commonName: "system:node:" + NodeName, organizations: []string{"system:nodes"}},
		{file: controllerManager, commonName: "system:" + controllerManager},
		{file: scheduler, commonName: "system:" + scheduler},
		{file: kubeProxy, commonName: "system:" + kubeProxy},
	}
}

// etcdCertificates are signed by an authority of their own: no certificate of a Kubernetes client opens etcd.
func etcdCertificates() []certificateRequest {
	return []certificateRequest{
		{file: "etcd", commonName: etcd, addresses: []net.IP{net.IPv4(127, 0, 0, 1)}, names: []string{"localhost"}},
		{file: "etcd-client", commonName: apiServer},
	}
}

// writePKI makes every certificate and key of the cluster.
func writePKI() error {
	for _, domain := range []struct {
		file     string
		requests []certificateRequest
	}{{"ca", clusterCertificates()}, {"etcd-ca", etcdCertificates()}} {
		ca, err := newAuthority(domain.file)
		if err != nil {
			return err
		}
		if err := writeCertificate(pkiFile(domain.file+".crt"), ca.certificate.Raw); err != nil {
			return err
		}
		for _, request := range domain.requests {
			if err := ca.issue(request); err != nil {
				return fmt.Errorf("issue the certificate of %s: %w", request.commonName, err)
			}
		}
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(pkiFile("service-account.key"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return os.WriteFile(pkiFile("service-account.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newAuthority(name string) (authority, error) {
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "refinery-cluster-" + name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return authority{certificate: certificate, key: key}, err
}

// issue writes a certificate for clients, and for servers too when the request has addresses, and its key.
func (a authority) issue(request certificateRequest) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(request.addresses) > 0 {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: request.commonName, Organization: request.organizations},
		NotBefore:   a.certificate.NotBefore,
		NotAfter:    a.certificate.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: usage,
		IPAddresses: request.addresses,
		DNSNames:    request.names,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writeCertificate(pkiFile(request.file+".crt"), der); err != nil {
		return err
	}
	return writeKey(pkiFile(request.file+".key"), key)
}

func writeCertificate(path string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
