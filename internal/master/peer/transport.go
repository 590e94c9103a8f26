package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// Requests that masters send each other: POST with a message, answered with one.
const (
	confirmPath  = "/v1/confirm"
	activePath   = "/v1/active"
	releasedPath = "/v1/released"
)

const (
	// maxMessageBytes bounds a message.
	maxMessageBytes = 1 << 10
	// maxConnections bounds the open connections: two of each of nine masters, and some that come to nothing.
	maxConnections = 32
)

// message is what masters send each other.
type message struct {
	// Pod is who sends it.
	Pod string `json:"pod"`
	// Epoch is the term in which the sender is active; 0 while it stands by.
	Epoch int64 `json:"epoch,omitempty"`
	// Lost, in an answer, says that the sender lost the API server and does not become active for promiseFor.
	Lost bool `json:"lost,omitempty"`
}

// Serve answers the other masters until ctx is done.
func (l *Link) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	for _, path := range []string{confirmPath, activePath, releasedPath} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var asked message
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessageBytes)).Decode(&asked); err != nil || asked.Pod == "" {
				http.Error(w, "the body is not a message", http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(l.answer(path, asked)) // whoever is gone asks again
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 4 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(tls.NewListener(netutil.LimitListener(listener, maxConnections), l.tlsConfig())); ctx.Err() == nil {
		return err
	}
	return nil
}

// ask sends one request to one master.
func (l *Link) ask(ctx context.Context, address, path string, m message) (answer message, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	// Each request has a connection of its own: they are rare, and one that is dead would cost the time that it takes to notice.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: l.tlsConfig(), DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s answers with %s", address, response.Status)
	}
	return answer, json.NewDecoder(io.LimitReader(response.Body, maxMessageBytes)).Decode(&answer)
}

// errStranger is all that somebody without the key pair learns.
var errStranger = errors.New("not a master of this ClusterMaster")

// tlsConfig is the same for both ends: each presents the one certificate of the masters, and takes no other. So it does not
// matter who signed it, what it names and when it ends, and no certificate of a node or of another ClusterMaster is good for anything.
func (l *Link) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, //nolint:gosec // VerifyConnection compares the whole certificate
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.keyPair() },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.keyPair() },
		VerifyConnection: func(state tls.ConnectionState) error {
			own, err := l.keyPair()
			if err != nil {
				return err
			}
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, own.Certificate[0]) {
				return errStranger
			}
			return nil
		},
	}
}

// keyPair reads the key pair, which is seldom needed, and may have been replaced.
func (l *Link) keyPair() (*tls.Certificate, error) {
	files, err := secretfiles.Read(l.Directory, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	if err != nil {
		return nil, err
	}
	return pemtext.KeyPair(corev1.TLSCertKey, files[corev1.TLSCertKey], corev1.TLSPrivateKeyKey, files[corev1.TLSPrivateKeyKey])
}
