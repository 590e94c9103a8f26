package master

import (
	"cmp"
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

// inForce is what was loaded from the mounted Secrets last. It is never changed.
type inForce struct {
	served *tls.Certificate // what the master presents to nodes; nil if none was found
	trust  *admit.Trust
	shared int64 // the generation of the Secret of the shared certificate; 0 if none was found
}

// certificatePoll is how often the files are read again, since not every volume sends notifications of changes.
const certificatePoll = 5 * time.Second

// certificates loads the files of the mounted Secrets whenever they change. Files that cannot be loaded change nothing: what
// was loaded before stays in force.
type certificates struct {
	// directory holds tls.crt, tls.key and ca.crt; "" for none.
	directory string
	// sharedFile holds the shared certificate; "" for none.
	sharedFile string
	clock      clock.WithTicker
	log        logr.Logger
	// changed is called after other certificates came into force. It must not block.
	changed func()

	current     atomic.Pointer[inForce]
	tls, shared mountedSecret
}

// mountedSecret is what happened to one mounted Secret.
type mountedSecret struct {
	content [sha256.Size]byte // the sum of the files in force
	failed  string            // why it could not be loaded the last time, so that the log shows it once
}

// inForce is empty before the first successful load.
func (c *certificates) inForce() inForce {
	if current := c.current.Load(); current != nil {
		return *current
	}
	return inForce{}
}

// Trust returns whom the master trusts now; nil before the first successful load.
func (c *certificates) Trust() *admit.Trust { return c.inForce().trust }

// Loaded is what the ClusterMaster's status shows of the certificates in force; empty if there are none.
func (c *certificates) Loaded() (l reportedCertificates) {
	now := c.inForce()
	l.Shared = now.shared
	if now.served == nil {
		return l
	}
	l.Certificate, l.Authorities = v1alpha1.Fingerprint(now.served.Leaf), now.trust.Authorities()
	l.Authorities = l.Authorities[:min(len(l.Authorities), v1alpha1.MaxActiveAuthorities)]
	return l
}

// Missing says what is not loaded and a policy needs to let in any nodes, or "".
func (c *certificates) Missing(p *admit.Policy) string {
	first := ""
	for _, mode := range p.Modes {
		missing := c.missingFor(mode.SecurityMode)
		if missing == "" {
			return ""
		}
		first = cmp.Or(first, missing)
	}
	return first
}

func (c *certificates) missingFor(mode v1alpha1.SecurityMode) string {
	now := c.inForce()
	if mode.Transport != v1alpha1.TransportPlaintext && now.served == nil {
		return fmt.Sprintf("no certificate in %q: it needs tls.crt, tls.key and ca.crt", c.directory)
	}
	if mode.Authentication == v1alpha1.AuthenticationSharedCertificate && !now.trust.HasShared() {
		return fmt.Sprintf("no shared certificate in %q", c.sharedFile)
	}
	return ""
}

// ServerConfig is the TLS configuration under a policy; nil if nodes use none. It presents the certificate that is in force.
//
// It requires a certificate from nodes, or asks for one while some need none, and does not verify it. The Authenticator does, so that a refused node gets auth:dec
// and status shows the reason. Keys that are made to be expensive to verify are refused here, as TLS verifies them first.
// Resumed sessions would skip all of this, so there are none.
func (c *certificates) ServerConfig(p *admit.Policy) *tls.Config {
	mutual, oneSided := p.Uses(v1alpha1.TransportMutualTLS), p.Uses(v1alpha1.TransportServerTLS)
	if !mutual && !oneSided {
		return nil
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyPeerCertificate: func(peer [][]byte, _ [][]*x509.Certificate) error {
			if len(peer) == 0 {
				return nil
			}
			return pki.CheckExponent(peer[0])
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if served := c.inForce().served; served != nil {
				return served, nil
			}
			return nil, errors.New("no certificate is loaded")
		},
	}
	switch {
	case !mutual:
		config.ClientAuth = tls.NoClientCert
	case oneSided:
		config.ClientAuth = tls.RequestClientCert
	}
	return config
}

// Run keeps the certificates current until ctx is done.
func (c *certificates) Run(ctx context.Context) {
	ticker := c.clock.NewTicker(certificatePoll)
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
			c.log.V(1).Info("missed a notification of changed files; they are read at intervals too", "error", err.Error())
		}
	}
}

// watch adds directories, not files: a mounted Secret changes by a symbolic link beside its files.
func (c *certificates) watch(watcher *fsnotify.Watcher) {
	if c.directory != "" {
		_ = watcher.Add(c.directory) // polling covers what cannot be watched
	}
	if c.sharedFile != "" {
		_ = watcher.Add(filepath.Dir(c.sharedFile))
	}
}

// Load reads the files and brings into force what changed. It is not safe for concurrent use.
func (c *certificates) Load() {
	next := c.inForce()
	changed := false
	if c.directory != "" {
		changed = c.take(&c.tls, c.directory, &next, (*inForce).readTLS)
	}
	if c.sharedFile != "" {
		changed = c.take(&c.shared, c.sharedFile, &next, (*inForce).readShared) || changed
	}
	if !changed {
		return
	}
	c.current.Store(&next)
	if next.served != nil {
		c.log.Info("certificates loaded", "fingerprint", v1alpha1.Fingerprint(next.served.Leaf), "notAfter", next.served.Leaf.NotAfter,
			"authorities", len(next.trust.Authorities()), "shared", next.trust.HasShared())
	}
	if c.changed != nil {
		c.changed()
	}
}

// take reads one mounted Secret into next, and reports whether its content changed.
func (c *certificates) take(l *mountedSecret, path string, next *inForce, read func(i *inForce, path string) ([sha256.Size]byte, error)) bool {
	candidate := *next
	content, err := read(&candidate, path)
	if err != nil {
		if text := err.Error(); text != l.failed {
			l.failed = text
			c.log.Info("cannot load certificates; those loaded before stay in force", "error", text)
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

// sharedKeys are there while the shared certificate changes.
var sharedKeys = []string{v1alpha1.SharedNextKey, v1alpha1.SharedFormerKey, v1alpha1.SharedUntilKey, v1alpha1.SharedGenerationKey}

func (i *inForce) readShared(path string) ([sha256.Size]byte, error) {
	directory, name := filepath.Split(path)
	files, err := secretfiles.ReadWith(directory, sharedKeys, name)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%s: %w", directory, err)
	}
	trust := i.trust.WithShared()
	for _, key := range []string{name, v1alpha1.SharedNextKey, v1alpha1.SharedFormerKey} {
		if _, exists := files[key]; !exists {
			continue
		}
		shared, err := secretfiles.Shared(files[key])
		if err != nil {
			return [sha256.Size]byte{}, fmt.Errorf("%s: %s %w", directory, key, err)
		}
		until := time.Time{}
		if key == v1alpha1.SharedFormerKey {
			until = v1alpha1.SharedUntil(files)
		}
		trust = trust.AndShared(shared, until)
	}
	i.trust, i.shared = trust, v1alpha1.SharedGeneration(files)
	return files.Sum(), nil
}

func (i *inForce) parse(files secretfiles.Files) error {
	served, err := pemtext.KeyPair(corev1.TLSCertKey, files[corev1.TLSCertKey], corev1.TLSPrivateKeyKey, files[corev1.TLSPrivateKeyKey])
	if err != nil {
		return err
	}
	anchors, err := pemtext.Certificates(v1alpha1.AuthorityKey, files[v1alpha1.AuthorityKey])
	if err != nil {
		return err
	}
	i.served, i.trust = served, i.trust.WithAnchors(anchors)
	return nil
}
