package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// rig is a server and its load, two processes. The servers of all contenders share a core, and so do their loads; one works at a time.
type rig struct {
	server, load *process.Process
	subject      subject.Name
	setting      subject.Setting
	address      string
	profile      string // where the profiles of the server go; empty: there are none
}

// startRig starts a server, on a free port if address is empty, and its load.
func (b *Bench) startRig(ctx context.Context, name subject.Name, s subject.Setting, address string) (*rig, error) {
	r := &rig{subject: name, setting: s}
	if err := r.startServer(ctx, address); err != nil {
		return nil, err
	}
	if err := r.startLoad(ctx); err != nil {
		return nil, r.abandon(err)
	}
	if b.Profiles == "" {
		return r, nil
	}
	profile := filepath.Join(b.Profiles, fmt.Sprintf("%s-%s-%s", name, s.Transport, time.Now().Format("150405.000")))
	if err := r.server.Call("server.Profile", profile, &struct{}{}); err != nil {
		return nil, r.abandon(err)
	}
	r.profile = profile
	return r, nil
}

func (r *rig) startServer(ctx context.Context, address string) (err error) {
	if r.server, err = process.Start(ctx, process.Server); err != nil {
		return err
	}
	start := subject.Start{Subject: r.subject, Setting: r.setting, Address: address}
	if err := r.server.Call("server.Start", start, &r.address); err != nil {
		return errors.Join(err, r.server.Kill())
	}
	return nil
}

func (r *rig) startLoad(ctx context.Context) (err error) {
	if r.load, err = process.Start(ctx, process.Load); err != nil {
		return err
	}
	return r.load.Call("load.Target", load.Target{Subject: r.subject, Setting: r.setting, Address: r.address}, &load.Nothing{})
}

// close ends both processes.
func (r *rig) close() error {
	var errs []error
	if r.profile != "" {
		errs = append(errs, r.server.Call("server.Profile", r.profile, &struct{}{}))
	}
	errs = append(errs, r.server.Close())
	if r.load != nil {
		errs = append(errs, r.load.Close())
	}
	return errors.Join(errs...)
}

// abandon ends the processes because of err, and returns it.
func (r *rig) abandon(err error) error { return errors.Join(err, r.close()) }

// open opens sessions, which idle.
func (r *rig) open(sessions int) error { return r.load.Call("load.Open", sessions, &load.Nothing{}) }

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
	err = errors.Join(r.server.Call("server.CPU", struct{}{}, &used.server), r.load.Call("load.CPU", load.Nothing{}, &used.load))
	return used, err
}

// work is what the load asks of a server for a time.
type work func(*rig, time.Duration) (load.Done, error)

// timing is how a contender works in its turns.
type timing struct {
	leadIn work          // what a turn begins with, not measured: caches and connections are as this contender leaves them
	lead   time.Duration // how long that takes
	work   work
	window time.Duration // how long work is measured
	count  time.Duration // how long it is counted
}

// worker is a contender that does the same work in every turn.
func (b *Bench) worker(r *rig, t timing, values func(load.Done, cost, process.Memory) []float64) *contender {
	return &contender{
		turn: func() ([]float64, error) {
			if _, err := t.leadIn(r, b.window(t.lead)); err != nil {
				return nil, err
			}
			var done load.Done
			spent, err := r.spent(func() (err error) {
				done, err = t.work(r, b.window(t.window))
				return err
			})
			if err != nil {
				return nil, err
			}
			memory, err := r.memory(false)
			return values(done, spent, memory), err
		},
		count: func() ([]float64, error) {
			if _, err := t.leadIn(r, b.window(t.lead)); err != nil {
				return nil, err
			}
			return r.count(b.Counted, func() (load.Done, error) { return t.work(r, b.window(t.count)) })
		},
		close: r.close,
	}
}

// count does some work, and returns how much of each event the server had in it, how often it allocated memory and how much, each divided
// by how often the work was done: the values of countMetrics.
func (r *rig) count(events []process.Event, work func() (load.Done, error)) ([]float64, error) {
	if err := r.server.Call("server.Count", events, &struct{}{}); err != nil {
		return nil, err
	}
	done, err := work()
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
