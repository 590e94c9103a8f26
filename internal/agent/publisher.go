package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

const maxUpstreamFileBytes = 4 << 10

// Upstream is what the workload reads: the content of --upstream-file and the body of GET /upstream.
type Upstream struct {
	// Upstream is host:port.
	Upstream string `json:"upstream"`
	// ID of the node it was granted to.
	ID string `json:"id"`
	// Since is when the node switched to it, to the second, in UTC.
	Since time.Time `json:"since"`
}

// publisher keeps the last granted upstream, for as long as the file lives: a lost session or a restarted agent takes
// nothing away from the workload.
type publisher struct {
	id, file string
	log      *slog.Logger

	mu      sync.Mutex
	current Upstream      // zero before the first grant
	changed chan struct{} // closed when current is another
	newest  uint64        // number of the session that was adopted last
}

// newPublisher takes up what an earlier run of the same node published.
func newPublisher(id, file string, log *slog.Logger) *publisher {
	p := &publisher{id: id, file: file, log: log, changed: make(chan struct{})}
	if u, err := readUpstream(file); err == nil && u.ID == id && validateHostPort(u.Upstream) == nil {
		p.current = u
	}
	return p
}

func readUpstream(file string) (u Upstream, err error) {
	f, err := secretfiles.OpenRegular(file)
	if err != nil {
		return u, err
	}
	defer func() { _ = f.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(f, maxUpstreamFileBytes))
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(content, &u)
}

// publish makes the upstream known, before the session acknowledges it. What a session that has been replaced still
// grants is ignored. An error leaves the former upstream in place.
func (p *publisher) publish(session uint64, upstream string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if session < p.newest {
		return nil
	}
	return p.write(upstream)
}

// adopt makes session the one whose grants count. Its upstream is published anew, for the session it replaces may have
// granted another one since.
func (p *publisher) adopt(session uint64, upstream string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.write(upstream); err != nil {
		return err
	}
	p.newest = session
	return nil
}

func (p *publisher) write(upstream string) error {
	if err := validateHostPort(upstream); err != nil {
		return fmt.Errorf("%w: %q: %w", errUpstream, upstream, err)
	}
	if upstream == p.current.Upstream {
		return nil
	}
	next := Upstream{Upstream: upstream, ID: p.id, Since: time.Now().UTC().Truncate(time.Second)}
	if p.file != "" {
		if err := replaceFile(p.file, next); err != nil {
			return fmt.Errorf("%w: --upstream-file: %w", errUpstream, err)
		}
	}
	p.log.Info("upstream granted", "upstream", upstream, "before", p.current.Upstream)
	p.current = next
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// errUpstream is the session's end when what was granted cannot be published.
var errUpstream = errors.New("upstream not published")

// keep writes the file again when somebody has deleted it, until ctx is done. A failure is logged once, and tried again.
func (p *publisher) keep(ctx context.Context) {
	if p.file == "" {
		return
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := p.restore()
		if err != nil && !told {
			p.log.Warn("the upstream file is missing and cannot be written", "reason", err.Error())
		}
		told = err != nil
	}
}

// restore writes the file again if it is missing.
func (p *publisher) restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := os.Lstat(p.file); !errors.Is(err, fs.ErrNotExist) || p.current.Upstream == "" {
		return nil
	}
	return replaceFile(p.file, p.current)
}

// latest is the last upstream granted; false before the first.
func (p *publisher) latest() (Upstream, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.current.Upstream != ""
}

// follow is the last upstream granted, "" before the first, and a channel that is closed when another is.
func (p *publisher) follow() (upstream string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.Upstream, p.changed
}

// replaceFile writes beside the file and renames, so that a reader sees the old content or the new, never a part. Readable
// by all: the workload may run as another user.
func replaceFile(path string, u Upstream) error {
	content, err := json.Marshal(u)
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Close()) // Chmod: whatever the umask is
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary) // the next write would remove it too
	}
	return err
}
