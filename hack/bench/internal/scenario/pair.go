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

// pair is a server and its load.
type pair struct {
	server, load *process.Process
	subject      subject.Name
	setting      subject.Setting
	address      string
}

// withPair starts a fresh pair, measures with it and ends it.
func (b *Bench) withPair(ctx context.Context, name subject.Name, s subject.Setting, measure func(*pair) ([]float64, error)) ([]float64, error) {
	return b.withPairAt(ctx, name, s, "", measure)
}

// withPairAt is withPair with a server on a given address, if that is not empty.
func (b *Bench) withPairAt(
	ctx context.Context, name subject.Name, s subject.Setting, address string, measure func(*pair) ([]float64, error),
) (values []float64, err error) {
	p := &pair{subject: name, setting: s}
	if err := p.startServer(ctx, address); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.server.Close()) }()
	if p.load, err = process.Start(ctx, process.Load); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.load.Close()) }()
	if err := p.load.Call("load.Target", load.Target{Subject: name, Setting: s, Address: p.address}, &load.Nothing{}); err != nil {
		return nil, err
	}
	if b.Profiles == "" {
		return measure(p)
	}
	profile := filepath.Join(b.Profiles, fmt.Sprintf("%s-%s-%s", name, s.Transport, time.Now().Format("150405.000")))
	if err := p.server.Call("server.Profile", profile, &struct{}{}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.server.Call("server.Profile", profile, &struct{}{})) }()
	return measure(p)
}

// alone is a contest's measure, for what can measure several pairs too.
func (b *Bench) alone(
	s subject.Setting, measure func([]*pair) ([][]float64, error),
) func(ctx context.Context, contender string) ([]float64, error) {
	return func(ctx context.Context, contender string) ([]float64, error) {
		return b.withPair(ctx, subject.Name(contender), s, func(p *pair) ([]float64, error) {
			values, err := measure([]*pair{p})
			return values[0], err
		})
	}
}

// sideBySide is a contest's measureBoth. It starts two fresh pairs, measures with both and ends them. Their servers share a core,
// and so do their loads.
func (b *Bench) sideBySide(
	s subject.Setting, measure func([]*pair) ([][]float64, error),
) func(ctx context.Context, order [2]string) ([2][]float64, error) {
	return func(ctx context.Context, order [2]string) (values [2][]float64, err error) {
		_, err = b.withPair(ctx, subject.Name(order[0]), s, func(one *pair) ([]float64, error) {
			return b.withPair(ctx, subject.Name(order[1]), s, func(other *pair) ([]float64, error) {
				both, err := measure([]*pair{one, other})
				copy(values[:], both)
				return nil, err
			})
		})
		return values, err
	}
}

// startServer starts the server, on a free port if address is empty.
func (p *pair) startServer(ctx context.Context, address string) (err error) {
	if p.server, err = process.Start(ctx, process.Server); err != nil {
		return err
	}
	start := subject.Start{Subject: p.subject, Setting: p.setting, Address: address}
	if err := p.server.Call("server.Start", start, &p.address); err != nil {
		return errors.Join(err, p.server.Kill())
	}
	return nil
}

// open opens sessions, which idle.
func (p *pair) open(sessions int) error { return p.load.Call("load.Open", sessions, &load.Nothing{}) }

// part closes them.
func (p *pair) part() error { return p.load.Call("load.Part", load.Nothing{}, &load.Nothing{}) }

// usage of the server.
func (p *pair) usage(settled bool) (u process.Usage, err error) {
	err = p.server.Call("server.Usage", settled, &u)
	return u, err
}

// cost is what both ends used for something.
type cost struct{ server, load time.Duration }

// spent runs work and returns the CPU time that it took.
func (p *pair) spent(work func() error) (cost, error) {
	spent, err := spentBy([]*pair{p}, work)
	return spent[0], err
}

// spentBy runs work and returns the CPU time that each pair took meanwhile.
func spentBy(pairs []*pair, work func() error) ([]cost, error) {
	spent := make([]cost, len(pairs))
	for i, p := range pairs {
		used, err := p.used()
		if err != nil {
			return spent, err
		}
		spent[i] = cost{-used.server, -used.load}
	}
	if err := work(); err != nil {
		return spent, err
	}
	for i, p := range pairs {
		used, err := p.used()
		if err != nil {
			return spent, err
		}
		spent[i] = cost{spent[i].server + used.server, spent[i].load + used.load}
	}
	return spent, nil
}

// inTurns lets the sessions of pairs beat, of one pair after the other, and returns what each did in its turns, and spent in
// all of them.
func inTurns(pairs []*pair, turns []int, beat func(*pair, *load.Beaten) error) ([]load.Beaten, []cost, error) {
	beaten := make([]load.Beaten, len(pairs))
	spent, err := spentBy(pairs, func() error {
		for _, turn := range turns {
			var done load.Beaten
			if err := beat(pairs[turn], &done); err != nil {
				return err
			}
			beaten[turn].Count += done.Count
			beaten[turn].Elapsed += done.Elapsed
		}
		return nil
	})
	return beaten, spent, err
}

// used is what both ends used since they started.
func (p *pair) used() (cost, error) {
	var server, load process.Usage
	err := errors.Join(p.server.Call("server.Usage", false, &server), p.load.Call("load.Usage", false, &load))
	return cost{server.CPU, load.CPU}, err
}

// each is a total divided among so many, in microseconds.
func each(total time.Duration, count int) float64 {
	return float64(total.Nanoseconds()) / 1000 / float64(count)
}

func perSecond(count int, elapsed time.Duration) float64 { return float64(count) / elapsed.Seconds() }

func megabytes(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// names of subjects as contenders.
func names(subjects ...subject.Name) []string {
	contenders := make([]string, len(subjects))
	for i, s := range subjects {
		contenders[i] = string(s)
	}
	return contenders
}
