package scenario

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
)

const (
	codecAliveText = `One conn:alive, 17 bytes, encoded and decoded. The floor is the least that a reader does
who knows nothing of what comes: bytes.IndexByte over the message, and a copy of it. A message without a payload can be had for less, as it is compared whole.`

	codecAuthStartText = `One auth:start with a certificate of 1.2 KB, from bytes that were received to a string that a Handler has, copying the received bytes first. encoding/json is given the payload
alone and reads it into a struct. redcon reads a Redis command of the same size, in which lengths stand before strings. The floor searches the message once and copies it.`
)

// The contenders.
const (
	bare, encode, decode = "IndexByte and copy", "refinery, encode", "refinery, decode"
	jsonDecode           = "encoding/json, decode"
	redconDecode         = "redcon, decode"
)

// codecBenchmarks are how the names of the contenders' benchmarks end. They begin with that of the message.
var codecBenchmarks = map[string]string{encode: "Encode", decode: "Decode", bare: "Bare", jsonDecode: "JSON", redconDecode: "Redcon"}

func codecContests(b *Bench) []*contest {
	took, allocations := "time", "allocations"
	metrics := []report.Metric{
		{Name: took, Unit: "ns each", Digits: 1}, {Name: allocations, Unit: "each"}, {Name: "allocated", Unit: "bytes each"}, {Name: "throughput", Unit: "MB/s"},
	}
	contests := []*contest{{
		Comparison: report.Comparison{
			Name: "codec-alive", Title: "Codec, conn:alive", Text: codecAliveText, Metrics: metrics,
			Goals: []report.Goal{
				ratio(encode, bare, took, 1.5, false), ratio(decode, bare, took, 1.5, false),
				count(encode, allocations, 0), count(decode, allocations, 0),
			},
		},
		contenders: []string{encode, decode, bare}, share: 12 * time.Second,
	}, {
		Comparison: report.Comparison{
			Name: "codec-certificate", Title: "Codec, auth:start with a certificate", Text: codecAuthStartText, Metrics: metrics,
			Goals: []report.Goal{
				ratio(jsonDecode, decode, took, 4, true), count(decode, allocations, 2),
			},
		},
		contenders: []string{encode, decode, bare, jsonDecode, redconDecode}, share: 22 * time.Second,
	}}
	// The binaries are built for the first contender that needs them.
	binaries := map[bool]func() (string, error){
		false: sync.OnceValues(func() (string, error) { return b.buildBenchmarks("own.test", b.Root, "./protocol/internal/wire") }),
		true: sync.OnceValues(func() (string, error) {
			return b.buildBenchmarks("peers.test", filepath.Join(b.Root, "hack", "bench"), "./internal/codec")
		}),
	}
	for i, message := range []string{"Alive", "AuthStart"} {
		c := contests[i]
		c.Floor, c.rounds = bare, 2
		c.start = func(ctx context.Context, name string) (*contender, error) {
			binary, err := binaries[name == redconDecode]()
			if err != nil {
				return nil, err
			}
			return &contender{turn: func() ([]float64, error) { return b.runBenchmark(ctx, binary, message+codecBenchmarks[name]) }}, nil
		}
	}
	return contests
}

// buildBenchmarks builds the test binary of a package, and returns where it is.
func (b *Bench) buildBenchmarks(name, module, source string) (string, error) {
	binary := filepath.Join(b.Scratch, name)
	build := exec.Command("go", "test", "-c", "-o", binary, source)
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the benchmarks of %s: %w\n%s", source, err, out)
	}
	return binary, nil
}

// runBenchmark returns nanoseconds, allocations, allocated bytes and MB/s.
func (b *Bench) runBenchmark(ctx context.Context, binary, name string) ([]float64, error) {
	duration := "100ms"
	if b.Quick {
		duration = "1ms"
	}
	command := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench=^Benchmark"+name+"$", "-test.benchtime="+duration, "-test.cpu=1")
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s: %w\n%s", name, err, out)
	}
	// Each value stands before its unit.
	words, values := strings.Fields(string(out)), make([]float64, 4)
	for column, unit := range []string{"ns/op", "allocs/op", "B/op", "MB/s"} {
		if at := slices.Index(words, unit); at > 0 {
			values[column], _ = strconv.ParseFloat(words[at-1], 64) // What is no number counts as no result.
		}
	}
	if values[0] == 0 {
		return nil, fmt.Errorf("benchmark %s printed no result:\n%s", name, out)
	}
	return values, nil
}
