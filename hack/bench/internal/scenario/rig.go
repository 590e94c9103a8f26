package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// rig is a server and its load, two processes. The servers of all contenders share a core, and so do their loads; one works at a time.
type rig struct {
	server, load *process.Process
	subject      string
	dialect      subject.Dialect
	setting      subject.Setting
	address      string
	profile      string // where the profiles of the server go; empty: there are none
}

// startRig starts a server, on a free port if address is empty, and its load, and then gets them ready.
func (b *Bench) startRig(ctx context.Context, name string, s subject.Setting, address string, ready func(*rig) error) (*rig, error) {
	dialect, err := subject.DialectOf(name, s)
	if err != nil {
		return nil, err
	}
	r := &rig{subject: name, dialect: dialect, setting: s}
	if err = r.startServer(ctx, address); err == nil {
		err = r.startLoad(ctx)
	}
	if err == nil && b.Profiles != "" {
		err = r.startProfile(b.Profiles)
	}
	if err == nil {
		err = ready(r)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) startServer(ctx context.Context, address string) (err error) {
	if r.server, err = process.Start(ctx, process.Server); err != nil {
		return err
	}
	start := subject.Start{Subject: r.subject, Setting: r.setting, Address: address}
	return r.server.Call("server.Start", start, &r.address)
}

func (r *rig) startLoad(ctx context.Context) (err error) {
	if r.load, err = process.Start(ctx, process.Load); err != nil {
		return err
	}
	return r.load.Call("load.Target", load.Target{Subject: r.subject, Setting: r.setting, Address: r.address}, nil)
}

func (r *rig) startProfile(directory string) error {
	path := filepath.Join(directory, fmt.Sprintf("%s-%s-%s", r.subject, r.setting.Transport, time.Now().Format("150405.000")))
	if err := r.server.Call("server.Profile", path, nil); err != nil {
		return err
	}
	r.profile = path
	return nil
}

// close ends both processes.
func (r *rig) close() error {
	var err error
	if r.profile != "" {
		err = r.server.Call("server.Profile", r.profile, nil)
	}
	return errors.Join(err, r.server.Close(), r.load.Close())
}

// open opens sessions, which idle.
func (r *rig) open(sessions int) error { return r.load.Call("load.Open", sessions, nil) }

// memory of the server.
func (r *rig) memory(settled bool) (m process.Memory, err error) {
	err = r.server.Call("server.Memory", settled, &m)
	return m, err
}

// cost is the processor time that both ends used for something.
type cost struct{ server, load time.Duration }

// spent runs work and returns what it cost.
func (r *rig) spent(work func() error) (cost, error) {
	before, err := r.used()
	if err != nil {
		return cost{}, err
	}
	if err := work(); err != nil {
		return cost{}, err
	}
	after, err := r.used()
	return cost{after.server - before.server, after.load - before.load}, err
}

// used is what both ends used since they started.
func (r *rig) used() (used cost, err error) {
	err = errors.Join(r.server.Call("server.CPU", struct{}{}, &used.server), r.load.Call("load.CPU", struct{}{}, &used.load))
	return used, err
}

// work is what the load asks of a server for a time.
type work func(*rig, time.Duration) (load.Done, error)

// worker is a contender that does the same work in every turn.
type worker struct {
	ready  func(*rig) error // what comes before the first turn
	leadIn work             // what a turn begins with, not measured: caches and connections are as this contender leaves them
	lead   time.Duration    // how long that takes
	work   work
	window time.Duration // how long work is measured
	count  time.Duration // how long it is counted
	values func(*rig, load.Done, cost, process.Memory) []float64
}

// contest is one of contenders that work so in a setting, and that the comparison measures beside what is counted.
func (b *Bench) contest(s subject.Setting, w worker, share time.Duration, c report.Comparison) *contest {
	c.Floor, c.Metrics = subject.Floor, append(c.Metrics, b.countMetrics()...)
	start := func(ctx context.Context, name string) (*contender, error) {
		r, err := b.startRig(ctx, name, s, "", w.ready)
		if err != nil {
			return nil, err
		}
		return &contender{
			turn:  func() ([]float64, error) { return b.turn(r, w) },
			count: func() ([]float64, error) { return b.count(r, w) },
			close: r.close,
		}, nil
	}
	return &contest{Comparison: c, contenders: contenders(s), rounds: 2, share: share, start: start}
}

// turn works once, and returns the values of that.
func (b *Bench) turn(r *rig, w worker) ([]float64, error) {
	if _, err := w.leadIn(r, b.window(w.lead)); err != nil {
		return nil, err
	}
	var done load.Done
	spent, err := r.spent(func() (err error) {
		done, err = w.work(r, b.window(w.window))
		return err
	})
	if err != nil {
		return nil, err
	}
	memory, err := r.memory(false)
	return w.values(r, done, spent, memory), err
}

// count works once, and returns how much of each event the server had in it, how often it allocated memory and how much, each divided
// by how often the work was done: the values of countMetrics.
func (b *Bench) count(r *rig, w worker) ([]float64, error) {
	if _, err := w.leadIn(r, b.window(w.lead)); err != nil {
		return nil, err
	}
	if err := r.server.Call("server.Count", b.Counted, nil); err != nil {
		return nil, err
	}
	done, err := w.work(r, b.window(w.count))
	if err != nil {
		return nil, err
	}
	var counts process.Counts
	if err := r.server.Call("server.Counted", struct{}{}, &counts); err != nil {
		return nil, err
	}
	var values []float64
	for _, n := range append(counts.Events, counts.Allocations, counts.Bytes) {
		values = append(values, float64(n)/float64(done.Count))
	}
	return values, nil
}

// each is a total divided among so many, in microseconds.
func each(total time.Duration, count int) float64 {
	return float64(total.Nanoseconds()) / 1000 / float64(count)
}

func perSecond(done load.Done) float64 { return float64(done.Count) / done.Elapsed.Seconds() }

func megabytes(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
