package master

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// permit is until when a process may act as the active master, in three degrees. Each is a time that the election moves on. So a
// process that was frozen, by its node or a debugger, begins nothing on what it knew before: when it goes on, the times are over.
type permit struct {
	clock clock.PassiveClock
	// answer is until when messages of nodes are handled at all. It moves with every try at the Lease, whatever its outcome.
	answer deadline
	// admit is until when nodes are let in: while the Lease is held, or kept without the API server.
	admit deadline
	// report is until when status is written: while the Lease is held and the watches are current.
	report deadline

	mu    sync.Mutex
	moved chan struct{} // closed, and replaced, when a time moves
	over  bool
}

func newPermit(clk clock.PassiveClock) *permit {
	return &permit{clock: clk, moved: make(chan struct{})}
}

// deadline is a time that moves forward only; before the first it is over.
type deadline struct{ at atomic.Pointer[time.Time] }

// ahead reports whether the time is still to come. The monotonic clock does not count the time in which a machine was suspended,
// so the wall clock is asked too.
func (d *deadline) ahead(now time.Time) bool {
	at := d.at.Load()
	return at != nil && now.Before(*at) && now.Round(0).Before(at.Round(0))
}

// Answers moves on until when messages are handled.
func (p *permit) Answers(until time.Time) { p.move(&p.answer, until) }

// Admits moves on until when nodes are let in.
func (p *permit) Admits(until time.Time) { p.move(&p.admit, until) }

// Reports moves on until when status is written.
func (p *permit) Reports(until time.Time) { p.move(&p.report, until) }

func (p *permit) move(d *deadline, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := d.at.Load(); at == nil || until.After(*at) {
		d.at.Store(&until)
	}
	p.wake()
}

func (p *permit) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// End ends the wait of everybody who waits for the permit.
func (p *permit) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.wake()
}

// MayAdmit reports whether nodes may be let in now.
func (p *permit) MayAdmit() bool { return p.admit.ahead(p.clock.Now()) }

// WaitToAnswer returns when messages may be handled, which is nearly always at once.
func (p *permit) WaitToAnswer() {
	if !p.answer.ahead(p.clock.Now()) {
		p.wait(context.Background(), &p.answer)
	}
}

// WaitToReport returns when status may be written; false if that will not be.
func (p *permit) WaitToReport(ctx context.Context) bool { return p.wait(ctx, &p.report) }

func (p *permit) wait(ctx context.Context, d *deadline) bool {
	for {
		p.mu.Lock()
		moved, over := p.moved, p.over
		p.mu.Unlock()
		switch {
		case ctx.Err() != nil || over:
			return false
		case d.ahead(p.clock.Now()):
			return true
		}
		select {
		case <-ctx.Done():
		case <-moved:
		}
	}
}
