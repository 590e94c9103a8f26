package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const (
	memoryWarmUp   = 200
	memoryResident = "resident"
	memoryText     = `What a session that idles costs: so much more memory the server process has resident (Rss of /proc/PID/smaps_rollup) with %d sessions open than with none, divided among them.
Sessions were opened and closed before the first look, so that the program's own pages are in; before each look garbage was collected and free memory given
back. Stacks and heap are the parts of it that the Go runtime counts; the kernel's share is by how much the slabs of the whole machine grew, with both ends
of each connection. The floor is naive: a goroutine a connection, from accepting to closing, that keeps the stack which its handshake grew.`
)

func memoryContests(b *Bench) []*contest {
	var contests []*contest
	for _, variant := range []struct {
		name, title string
		transport   subject.Transport
		sessions    int
		bound       float64
		share       time.Duration
	}{
		{"memory-plain", "Memory for each idle session, plain", subject.Plaintext, 10_000, 1.25, 50 * time.Second},
		{"memory-tls", "Memory for each idle session, TLS", subject.ServerTLS, 5_000, 0.70, 55 * time.Second},
		{"memory-mtls", "Memory for each idle session, mutual TLS", subject.MutualTLS, 5_000, 0.70, 65 * time.Second},
	} {
		setting := subject.Setting{Transport: variant.transport, Credentials: b.Credentials}
		contests = append(contests, &contest{
			Comparison: report.Comparison{
				Name: variant.name, Title: variant.title, Text: fmt.Sprintf(memoryText, variant.sessions), Floor: subject.Floor,
				Metrics: []report.Metric{
					{Name: memoryResident, Unit: "KB", Digits: 1}, {Name: "stacks", Unit: "KB", Digits: 1}, {Name: "heap", Unit: "KB", Digits: 1},
					{Name: "kernel", Unit: "KB", Digits: 1}, {Name: "server CPU to open", Unit: "µs each"},
				},
				Goals: []report.Goal{
					ratio(subject.Refinery, subject.Floor, memoryResident, variant.bound, false),
					ratio(subject.Refinery, subject.NATS, memoryResident, 0.45, false),
				},
			},
			contenders: contenders(setting), rounds: 1, share: variant.share,
			start: func(ctx context.Context, name string) (*contender, error) {
				return b.startMemory(ctx, name, setting, b.sessions(variant.sessions))
			},
		})
	}
	return contests
}

func (b *Bench) startMemory(ctx context.Context, name string, setting subject.Setting, sessions int) (*contender, error) {
	r, err := b.startRig(ctx, name, setting, "", func(r *rig) error {
		if err := r.open(min(memoryWarmUp, sessions)); err != nil {
			return err
		}
		return r.load.Call("load.Part", struct{}{}, nil)
	})
	if err != nil {
		return nil, err
	}
	return &contender{turn: func() ([]float64, error) { return r.measureMemory(sessions) }, close: r.close}, nil
}

func (r *rig) measureMemory(sessions int) ([]float64, error) {
	before, err := r.memory(true)
	if err != nil {
		return nil, err
	}
	spent, err := r.spent(func() error { return r.open(sessions) })
	if err != nil {
		return nil, err
	}
	after, err := r.memory(true)
	grown := func(before, after uint64) float64 {
		return (float64(after) - float64(before)) / (1 << 10) / float64(sessions)
	}
	return []float64{
		grown(before.Resident, after.Resident), grown(before.Stack, after.Stack), grown(before.Heap, after.Heap),
		grown(before.Kernel, after.Kernel), each(spent.server, sessions),
	}, err
}
