package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

const (
	// maxLoadBytes bounds what a workload says in one piece: a status of 256 bytes, all of them escaped, fits.
	maxLoadBytes = 2 << 10
	// maxStatusBytes bounds a status.
	maxStatusBytes = 256
	// loadCounts is for how long what the workload said counts. A workload that hangs says nothing any more.
	loadCounts = time.Minute
)

// Load is what a workload says about itself: the content of --load-file, and the body of POST /load.
type Load struct {
	// Load from 0 to 1; nil: not known.
	Load *float64 `json:"load"`
	// Status that is neither empty nor ok says what is wrong.
	Status string `json:"status"`
}

// parseLoad reads one JSON object.
func parseLoad(text []byte) (l Load, err error) {
	if len(text) > maxLoadBytes {
		return l, fmt.Errorf("it is longer than %d bytes", maxLoadBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return l, fmt.Errorf(`write for example {"load":0.25,"status":"ok"}: %w`, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return l, errors.New("something follows the JSON object")
	}
	switch {
	case l.Load != nil && (*l.Load < 0 || *l.Load > 1):
		return l, errors.New("load is not between 0 and 1")
	case len(l.Status) > maxStatusBytes:
		return l, fmt.Errorf("status is longer than %d bytes", maxStatusBytes)
	case strings.ContainsFunc(l.Status, func(r rune) bool { return !unicode.IsPrint(r) }):
		return l, errors.New("status has characters that cannot be printed")
	}
	return l, nil
}

// decimal is a load as the protocol has it.
func decimal(load float64) string {
	return strconv.FormatFloat(max(0, load), 'f', 4, 64) // max: JSON has a -0
}

// loads keeps what is known of the workload's load and status.
type loads struct {
	file   string    // "": none
	cgroup *cpuShare // nil: none
	log    *slog.Logger
	count  func(result string)

	// Of the goroutine of watch.
	read  os.FileInfo // of the file that was read last
	wrong error       // what is wrong with it
	told  string      // what was logged last

	mu    sync.Mutex
	said  Load
	at    time.Time // when; zero: never
	share float64   // of the cgroup's CPU
	shown bool      // there is a share
}

func newLoads(c Config, log *slog.Logger, m *metrics) *loads {
	l := &loads{file: c.LoadFile, log: log, count: func(result string) { m.loads.WithLabelValues(result).Inc() }}
	if c.LoadCgroup != "" {
		l.cgroup = &cpuShare{directory: c.LoadCgroup}
	}
	return l
}

// take parses what the workload says, and keeps it.
func (l *loads) take(text []byte) error {
	said, err := parseLoad(text)
	if err != nil {
		l.count("rejected")
		return err
	}
	l.count("accepted")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said, l.at = said, time.Now()
	return nil
}

// report is what a heartbeat says (protocol.ClientOptions.Load): nothing until something was known, and later, when it is not known
// any more, that it is not.
func (l *loads) report() (status, load string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := !l.at.IsZero() && time.Since(l.at) < loadCounts
	if counts {
		status = l.said.Status
	}
	switch {
	case counts && l.said.Load != nil:
		load = decimal(*l.said.Load)
	case l.shown:
		load = decimal(l.share)
	}
	return status, load, !l.at.IsZero() || l.cgroup != nil
}

// watch reads the file and the cgroup at intervals, until ctx is done. A file system that hangs so holds up no heartbeat.
func (l *loads) watch(ctx context.Context) {
	if l.file == "" && l.cgroup == nil {
		return
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		l.look()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look reads what there is to read. What goes wrong is logged when it is another thing than before.
func (l *loads) look() {
	problem := ""
	if l.file != "" {
		if err := l.readFile(); err != nil {
			problem = fmt.Sprintf("--load-file=%s: %v", l.file, err)
		}
	}
	if l.cgroup != nil {
		share, ok, err := l.cgroup.sample(time.Now())
		if err != nil {
			problem = fmt.Sprintf("--load-cgroup=%s: %v", l.cgroup.directory, err)
		}
		l.mu.Lock()
		l.share, l.shown = share, ok
		l.mu.Unlock()
	}
	if problem != l.told && problem != "" {
		l.log.Warn("the load cannot be read", "reason", problem)
	}
	l.told = problem
}

// readFile takes the file if it is another one than was read last, or was written since: when it was is told by this process's clock
// alone, as a file system may have another one. A file that is not there says nothing.
func (l *loads) readFile() error {
	f, err := secretfiles.OpenRegular(l.file)
	if errors.Is(err, secretfiles.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if l.read != nil && os.SameFile(l.read, info) && l.read.ModTime().Equal(info.ModTime()) && l.read.Size() == info.Size() {
		return l.wrong
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLoadBytes+1))
	if err != nil {
		return err
	}
	l.read, l.wrong = info, l.take(text)
	return l.wrong
}
