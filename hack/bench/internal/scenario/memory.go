package scenario

import (
	"context"
	"fmt"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	memoryWarmUp      = 200
	memorySessions    = 10_000
	memorySessionsTLS = 5_000
	kilobyte          = 1 << 10
	memoryResident    = "resident"
	memoryText        = `What a session that idles costs: so much more memory the server process has resident (Rss of /proc/PID/smaps_rollup) with %d sessions open than with none, divided among them.
Sessions were opened and closed before the first look, so that the program's own pages are in; before each look garbage was collected and free memory given
back. Stacks and heap are the parts of it that the Go runtime counts; the kernel's share is by how much the slabs of the whole machine grew, with both ends
of each connection. The floor is naive: a goroutine a connection, from accepting to closing, that keeps the stack which its handshake grew.`
)

func runMemory(ctx context.Context, b *Bench) ([]report.Comparison, error) {
	var contests []contest
	for _, variant := range []struct {
		name, title string
		transport   subject.Transport
		subjects    []subject.Name
		sessions    int
		bound       float64
	}{
		{"memory-plain", "Memory for each idle session, plain", subject.Plaintext,
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS, subject.Mochi}, memorySessions, 1.25},
		{"memory-tls", "Memory for each idle session, TLS", subject.ServerTLS,
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS}, memorySessionsTLS, 0.70},
		{"memory-mtls", "Memory for each idle session, mutual TLS", subject.MutualTLS,
			[]subject.Name{subject.Refinery, subject.Floor, subject.NATS}, memorySessionsTLS, 0.70},
	} {
		setting := subject.Setting{Transport: variant.transport, Credentials: b.Credentials}
		own := string(subject.Refinery)
		contests = append(contests, contest{
			Comparison: report.Comparison{
				Name: variant.name, Title: variant.title, Text: fmt.Sprintf(memoryText, variant.sessions),
				Metrics: []report.Metric{
					{Name: memoryResident, Unit: "KB", Digits: 1}, {Name: "stacks", Unit: "KB", Digits: 1}, {Name: "heap", Unit: "KB", Digits: 1},
					{Name: "kernel", Unit: "KB", Digits: 1}, {Name: "server CPU to open", Unit: "µs each"},
				},
				Goals: []report.Goal{
					ratio(own, string(subject.Floor), memoryResident, variant.bound, false),
					ratio(own, string(subject.NATS), memoryResident, 0.45, false),
				},
				Steady: report.Value{Subject: string(subject.Floor), Metric: memoryResident},
			},
			contenders: names(variant.subjects...),
			measure: func(ctx context.Context, contender string) ([]float64, error) {
				return b.withPair(ctx, subject.Name(contender), setting, func(p *pair) ([]float64, error) {
					return p.measureMemory(b.sessions(variant.sessions))
				})
			},
		})
	}
	return b.holdAll(ctx, contests)
}

func (p *pair) measureMemory(sessions int) ([]float64, error) {
	if err := p.open(min(memoryWarmUp, sessions)); err != nil {
		return nil, err
	}
	if err := p.part(); err != nil {
		return nil, err
	}
	before, err := p.usage(true)
	if err != nil {
		return nil, err
	}
	kernelBefore, err := process.KernelMemory()
	if err != nil {
		return nil, err
	}
	spent, err := p.spent(func() error { return p.open(sessions) })
	if err != nil {
		return nil, err
	}
	after, err := p.usage(true)
	if err != nil {
		return nil, err
	}
	kernelAfter, err := process.KernelMemory()
	grown := func(before, after uint64) float64 {
		return (float64(after) - float64(before)) / kilobyte / float64(sessions)
	}
	return []float64{
		grown(before.Resident, after.Resident), grown(before.Stack, after.Stack), grown(before.Heap, after.Heap),
		grown(kernelBefore, kernelAfter), each(spent.server, sessions),
	}, err
}
