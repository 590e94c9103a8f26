package agent

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// pollInterval is how often the files are read, for file systems that report no changes.
	pollInterval = 5 * time.Second
	// settleTime is how long the store waits after a change, so that several files can be changed one after the other.
	settleTime = 100 * time.Millisecond
)

// credentialStore holds the last usable credentials, and reports when there are others.
type credentialStore struct {
	files   credentialFiles
	log     *slog.Logger
	metrics *metrics
	// changes receives after current began to return something else. One consumer.
	changes chan struct{}
	// poll is pollInterval, and watched says when to look before it is over.
	poll    time.Duration
	watched *fileWatch

	mu      sync.Mutex
	usable  *credentials
	sum     [sha256.Size]byte // of the files that usable was parsed from
	problem string            // what is wrong with the files now; empty: nothing
}

func newCredentialStore(files credentialFiles, log *slog.Logger, m *metrics, watch func() (*fsnotify.Watcher, error)) *credentialStore {
	return &credentialStore{files: files, log: log, metrics: m, changes: make(chan struct{}, 1), poll: pollInterval,
		watched: &fileWatch{directories: files.directories(), log: log, open: watch}}
}

// current returns nil, and why, until the files have been usable once.
func (s *credentialStore) current() (*credentials, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usable, s.problem
}

// watch looks at the files when they change, and now and then, until ctx is done.
func (s *credentialStore) watch(ctx context.Context) {
	ticker := time.NewTicker(s.poll)
	defer ticker.Stop()
	defer s.watched.close()
	s.watched.renew()
	s.look()
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.watched.events():
			if settled == nil {
				settled = time.After(settleTime)
			}
			continue
		case <-settled:
			settled = nil
		case err := <-s.watched.errors():
			s.log.Debug("a change of the certificate files may have been missed until now", "reason", err.Error())
		case <-ticker.C:
			s.watched.renew()
		}
		s.look()
	}
}

// look reads the files once, and uses them from then on if they changed and are usable.
func (s *credentialStore) look() {
	files, err := s.files.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.reject(err)
		return
	}
	sum := files.Sum()
	if s.usable != nil && sum == s.sum {
		if s.problem != "" {
			s.problem = ""
			s.log.Info("certificate files are as they were before")
		}
		return
	}
	parsed, err := s.files.parse(files)
	if err != nil {
		s.reject(err)
		return
	}
	s.accept(parsed, sum)
}

// reject logs what is wrong once, until it changes.
func (s *credentialStore) reject(err error) {
	if err.Error() == s.problem {
		return
	}
	s.problem = err.Error()
	s.metrics.certificate.WithLabelValues("rejected").Inc()
	if s.usable != nil {
		s.log.Warn("certificate files cannot be used; keeping the former ones", "reason", s.problem)
		return
	}
	s.log.Warn("certificate files cannot be used; waiting for them", "reason", s.problem)
}

func (s *credentialStore) accept(c *credentials, sum [sha256.Size]byte) {
	s.usable, s.sum, s.problem = c, sum, ""
	s.metrics.certificate.WithLabelValues("accepted").Inc()
	if c.certificate == nil {
		s.log.Info("certificate files read")
	} else {
		s.metrics.notAfter.Set(float64(c.notAfter.Unix()))
		s.log.Info("certificate files read", "fingerprint", c.fingerprint, "notAfter", c.notAfter)
		if now := time.Now(); now.After(c.notAfter) {
			s.log.Warn("the certificate has expired; the master will refuse it", "notAfter", c.notAfter, "clock", now)
		} else if begin := c.certificate.Leaf.NotBefore; now.Before(begin) {
			s.log.Warn("the certificate is not valid yet; a master whose clock is right will refuse it", "notBefore", begin, "clock", now)
		}
	}
	select {
	case s.changes <- struct{}{}:
	default: // a change is waiting already, and whoever receives it calls current
	}
}

// dropPending drops a waiting change: the caller is about to call current.
func (s *credentialStore) dropPending() {
	select {
	case <-s.changes:
	default:
	}
}
