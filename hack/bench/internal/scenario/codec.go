package scenario

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

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

// runCodec runs the benchmarks of two test binaries: the library's own, and those of the peers.
func runCodec(ctx context.Context, b *Bench) ([]report.Comparison, error) {
	folder, err := os.MkdirTemp("", "bench-codec-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // The system empties its temporary folder in the end.
	own, peers := filepath.Join(folder, "own.test"), filepath.Join(folder, "peers.test")
	for binary, source := range map[string][2]string{
		own:   {b.Root, "./protocol"},
		peers: {filepath.Join(b.Root, "hack", "bench"), "./internal/codec"},
	} {
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, source[1])
		build.Dir = source[0]
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the benchmarks of %s: %w\n%s", source[1], err, out)
		}
	}
	contests := codecContests()
	for i := range contests {
		benchmarks := codecBenchmarks[contests[i].Name]
		contests[i].measure = func(ctx context.Context, contender string) ([]float64, error) {
			binary := own
			if contender == redconDecode {
				binary = peers
			}
			return b.runBenchmark(ctx, binary, benchmarks[contender])
		}
	}
	return b.holdAll(ctx, contests)
}

// codecBenchmarks are the benchmarks by comparison and contender.
var codecBenchmarks = map[string]map[string]string{
	"codec-alive": {encode: "AliveEncode", decode: "AliveDecode", bare: "AliveBare"},
	"codec-certificate": {
		encode: "AuthStartEncode", decode: "AuthStartDecode", bare: "AuthStartBare", jsonDecode: "AuthStartJSON", redconDecode: "AuthStartRedcon",
	},
}

func codecContests() []contest {
	time, allocations := "time", "allocations"
	metrics := []report.Metric{
		{Name: time, Unit: "ns each", Digits: 1}, {Name: allocations, Unit: "each"}, {Name: "allocated", Unit: "bytes each"}, {Name: "throughput", Unit: "MB/s"},
	}
	steady := report.Value{Subject: bare, Metric: time}
	return []contest{{
		Comparison: report.Comparison{
			Name: "codec-alive", Title: "Codec, conn:alive", Text: codecAliveText, Metrics: metrics, Steady: steady,
			Goals: []report.Goal{
				ratio(encode, bare, time, 1.5, false), ratio(decode, bare, time, 1.5, false),
				count(encode, allocations, 0), count(decode, allocations, 0),
			},
		},
		contenders: []string{encode, decode, bare},
	}, {
		Comparison: report.Comparison{
			Name: "codec-certificate", Title: "Codec, auth:start with a certificate", Text: codecAuthStartText, Metrics: metrics, Steady: steady,
			Goals: []report.Goal{
				{Of: report.Value{Subject: jsonDecode, Metric: time}, To: report.Value{Subject: decode, Metric: time}, Bound: 4, AtLeast: true},
				count(decode, allocations, 2),
			},
		},
		contenders: []string{encode, decode, bare, jsonDecode, redconDecode},
	}}
}

// codecRuns is how often a benchmark is run for one sample, its fastest: others' work on the machine only ever makes it slower.
const codecRuns = 5

func (b *Bench) runBenchmark(ctx context.Context, binary, name string) ([]float64, error) {
	duration, runs := "100ms", codecRuns
	if b.Quick {
		duration, runs = "1ms", 1
	}
	command := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench=^Benchmark"+name+"$", "-test.benchtime="+duration,
		"-test.count="+strconv.Itoa(runs), "-test.cpu=1")
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s: %w\n%s", name, err, out)
	}
	var fastest []float64
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		values := parseBenchmark(lines.Text())
		if values != nil && (fastest == nil || values[0] < fastest[0]) {
			fastest = values
		}
	}
	if fastest == nil {
		return nil, fmt.Errorf("benchmark %s printed no result:\n%s", name, out)
	}
	return fastest, nil
}

// parseBenchmark returns nanoseconds, allocations, allocated bytes and MB/s of one line that a benchmark prints; nil if it is none.
func parseBenchmark(line string) []float64 {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return nil
	}
	values := make([]float64, 4)
	for i := 3; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i-1], 64)
		if err != nil {
			return nil
		}
		for column, unit := range []string{"ns/op", "allocs/op", "B/op", "MB/s"} {
			if fields[i] == unit {
				values[column] = v
			}
		}
	}
	return values
}
