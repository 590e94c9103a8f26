package master

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// inForce is what was loaded from the mounted Secrets. It is never changed.
type inForce struct {
	served *tls.Certificate // what the master presents to nodes; nil when none was found
	trust  *admit.Trust
}

// certificatePoll is how often the files are compared with what is loaded, beside file notifications,
// which not every volume sends.
const certificatePoll = 5 * time.Second

// certificates are the files of the mounted Secrets, loaded again whenever they change. What cannot be
// loaded leaves in force what was.
type certificates struct {
	// directory holds tls.crt, tls.key and ca.crt; "" for none.
	directory string
	// SharedFile holds the shared certificate; "" for none.
	SharedFile string
	Clock      clock.WithTicker
	Log        logr.Logger
	// Changed is called after other certificates came into force. It must not block.
	Changed func()

	current     atomic.Pointer[inForce]
	tls, shared mountedSecret
}

// loaded is what became of one mounted Secret.
type mountedSecret struct {
	content [sha256.Size]byte // of what is in force
	failed  string            // why the last try failed; said once, not at every poll
}

// inForce is what was loaded last; empty before the first successful load.
func (c *certificates) inForce() inForce {
	if current := c.current.Load(); current != nil {
		return *current
	}
	return inForce{}
}

// Trust returns whom the master trusts now; nil before the first successful load.
func (c *certificates) Trust() *admit.Trust { return c.inForce().trust }

// Loaded is what the ClusterMaster's status shows of the certificates in force.
func (c *certificates) Loaded() (l reportedCertificates) {
	now := c.inForce()
	if now.served == nil {
		return l
	}
	l.Certificate, l.Authorities = v1alpha1.Fingerprint(now.served.Leaf), now.trust.Authorities()
	l.Authorities = l.Authorities[:min(len(l.Authorities), v1alpha1.MaxActiveAuthorities)]
	return l
}

// Missing says what this policy needs and is not loaded, or "".
func (c *certificates) Missing(p *admit.Policy) string {
	now := c.inForce()
	if p.Transport != v1alpha1.TransportPlaintext && now.served == nil {
		return fmt.Sprintf("no certificate in %q: it needs tls.crt, tls.key and ca.crt", c.directory)
	}
	if p.Authentication == v1alpha1.AuthenticationSharedCertificate && !now.trust.HasShared() {
		return fmt.Sprintf("no shared certificate in %q", c.SharedFile)
	}
	return ""
}

// ServerConfig is the TLS configuration for a transport; nil for Plaintext. It serves whatever certificate is
// in force. certificates of nodes are asked for and not verified here: the Authenticator does, so that a refusal
// is an auth:dec with a reason in status; but for keys that are made to be dear to verify. Resumption would skip that, so there is
// none.
func (c *certificates) ServerConfig(transport v1alpha1.Transport) *tls.Config {
	if transport == v1alpha1.TransportPlaintext {
		return nil
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyPeerCertificate:  func(peer [][]byte, _ [][]*x509.Certificate) error { return pki.CheckExponent(peer[0]) },
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if served := c.inForce().served; served != nil {
				return served, nil
			}
			return nil, errors.New("no certificate is loaded")
		},
	}
	if transport == v1alpha1.TransportServerTLS {
		config.ClientAuth = tls.NoClientCert
	}
	return config
}

// Run keeps the certificates current until ctx is done.
func (c *certificates) Run(ctx context.Context) {
	ticker := c.Clock.NewTicker(certificatePoll)
	defer ticker.Stop()
	var events <-chan fsnotify.Event
	var failures <-chan error
	if watcher, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = watcher.Close() }()
		c.watch(watcher)
		events, failures = watcher.Events, watcher.Errors
	}
	for {
		c.Load()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		case <-events:
		case err := <-failures:
			c.Log.V(1).Info("a notification was missed; polling covers it", "cause", err)
		}
	}
}

// watch adds the folders, not the files: a mounted Secret changes by a symbolic link beside them.
func (c *certificates) watch(watcher *fsnotify.Watcher) {
	if c.directory != "" {
		_ = watcher.Add(c.directory) // polling covers what cannot be watched
	}
	if c.SharedFile != "" {
		_ = watcher.Add(filepath.Dir(c.SharedFile))
	}
}

// Load compares the files with what is in force and takes what changed. It is not safe for concurrent use.
func (c *certificates) Load() {
	next := c.inForce()
	changed := false
	if c.directory != "" {
		changed = c.take(&c.tls, c.directory, &next, (*inForce).readTLS)
	}
	if c.SharedFile != "" {
		changed = c.take(&c.shared, c.SharedFile, &next, (*inForce).readShared) || changed
	}
	if !changed {
		return
	}
	c.current.Store(&next)
	if next.served != nil {
		c.Log.Info("certificates loaded", "fingerprint", v1alpha1.Fingerprint(next.served.Leaf), "notAfter", next.served.Leaf.NotAfter,
			"authorities", len(next.trust.Authorities()), "shared", next.trust.HasShared())
	}
	if c.Changed != nil {
		c.Changed()
	}
}

// take reads one mounted Secret into next if its content is other than before.
func (c *certificates) take(l *mountedSecret, path string, next *inForce, read func(i *inForce, path string) ([sha256.Size]byte, error)) bool {
	candidate := *next
	content, err := read(&candidate, path)
	if err != nil {
		if text := err.Error(); text != l.failed {
			l.failed = text
			c.Log.Info("certificates cannot be loaded; what was loaded before stays in force", "cause", text)
		}
		return false
	}
	l.failed = ""
	if content == l.content {
		return false
	}
	l.content = content
	*next = candidate
	return true
}

func (i *inForce) readTLS(directory string) ([sha256.Size]byte, error) {
	files, err := secretfiles.Read(directory, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, v1alpha1.AuthorityKey)
	if err == nil {
		err = i.parse(files)
	}
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%s: %w", directory, err)
	}
	return files.Sum(), nil
}

func (i *inForce) readShared(path string) ([sha256.Size]byte, error) {
	directory, name := filepath.Split(path)
	files, err := secretfiles.Read(directory, name)
	if err == nil && len(bytes.TrimSpace(files[name])) == 0 {
		err = fmt.Errorf("%s is empty", name)
	}
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%s: %w", directory, err)
	}
	i.trust = i.trust.WithShared(files[name])
	return files.Sum(), nil
}

func (i *inForce) parse(files secretfiles.Files) error {
	served, err := tls.X509KeyPair(files[corev1.TLSCertKey], files[corev1.TLSPrivateKeyKey])
	if err != nil {
		return fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	anchors, err := pemtext.Certificates(v1alpha1.AuthorityKey, files[v1alpha1.AuthorityKey])
	if err != nil {
		return err
	}
	i.served, i.trust = &served, i.trust.WithAnchors(anchors)
	return nil
}
