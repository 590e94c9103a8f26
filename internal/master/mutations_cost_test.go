//go:build !race

package master

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// maxTimesTheRightOne bounds the CPU that an attempt takes, as a multiple of what the right certificate takes in the same run.
	// The dearest measured, a P-521 key and a long search for a chain, took 4 to 5 times as much.
	maxTimesTheRightOne = 10
	maxAttemptBytes     = 1 << 20
	// attackerOf names, to the process that this test starts, the master that it is to connect to.
	attackerOf = "REFINERY_TEST_ATTACKER_OF"
)

// TestAttacker is the other side of the test below, in a process of its own, so that what it costs is its own. It tells
// the authority of its certificates, and for each number that it reads tries the mutation of that number once.
func TestAttacker(t *testing.T) {
	address := os.Getenv(attackerOf)
	if address == "" {
		t.Skip("started by another test")
	}
	say := os.NewFile(3, "answers")
	m := admittest.NewMint()
	var certificates []tls.Certificate
	for _, mutation := range admittest.Mutations() {
		certificates = append(certificates, mutation.Make(m))
	}
	_, _ = fmt.Fprintln(say, hex.EncodeToString(m.Trusted.Certificate.Raw))
	for {
		var index int
		if _, err := fmt.Scanln(&index); err != nil {
			return
		}
		if err := try(t, address, certificates[index]); err == nil {
			_, _ = fmt.Fprintln(say, "in")
		} else {
			_, _ = fmt.Fprintln(say, "out")
		}
	}
}

// try connects with a chain, and returns when the master has answered or hung up.
func try(t *testing.T, address string, certificate tls.Certificate) error {
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, //nolint:gosec // only the master's side counts here
		Certificates: []tls.Certificate{certificate}}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = "press/a", "0.1.0", "refinery", "none"
	_, err = protocol.Handshake(t.Context(), conn, o)
	return err
}

// attacker is that process.
type attacker struct {
	*testing.T
	commands io.WriteCloser
	answers  *bufio.Scanner
}

func startAttacker(t *testing.T, address string) (a *attacker, authorityDER []byte) {
	t.Helper()
	answers, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAttacker$") //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), attackerOf+"="+address)
	cmd.ExtraFiles = []*os.File{theirs}
	commands, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() {
		_ = commands.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		_ = answers.Close()
	})
	a = &attacker{t, commands, bufio.NewScanner(answers)}
	authorityDER, err = hex.DecodeString(a.answer())
	if err != nil {
		t.Fatal(err)
	}
	return a, authorityDER
}

func (a *attacker) answer() string {
	a.Helper()
	if !a.answers.Scan() {
		a.Fatal("the attacker ended")
	}
	return a.answers.Text()
}

// tries has a mutation tried once.
func (a *attacker) tries(index int) string {
	a.Helper()
	if _, err := fmt.Fprintln(a.commands, index); err != nil {
		a.Fatal(err)
	}
	return a.answer()
}

// cost is what one attempt takes of the master.
type cost struct {
	name string
	cpu  time.Duration
	// times is cpu as a multiple of what the right certificate takes.
	times float64
	bytes uint64
}

func (c cost) String() string {
	return fmt.Sprintf("\n%-40s %5.1f times the right one (%5.2f ms of CPU) %5d KiB", c.name, c.times, float64(c.cpu)/float64(time.Millisecond), c.bytes>>10)
}

// used is what this process has used up to now: no other process counts, however busy the machine is.
func used(t *testing.T) cost {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return cost{cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), bytes: memory.TotalAlloc}
}

// costOfOne is what the master uses while a mutation is tried once.
func (a *attacker) costOfOne(index int, name string) cost {
	a.Helper()
	before := used(a.T)
	if got := a.tries(index); got != "out" {
		a.Fatalf("%s: %s", name, got)
	}
	after := used(a.T)
	return cost{name: name, cpu: after.cpu - before.cpu, bytes: after.bytes - before.bytes}
}

// costOf tries a mutation and the right certificate in turns, so that both meet the same machine, and returns medians.
func (a *attacker) costOf(index int, name string, right int) cost {
	a.Helper()
	const tries = 9
	var cpu []time.Duration
	var times []float64
	var bytes []uint64
	for range tries {
		reference, c := a.costOfOne(right, "the right one"), a.costOfOne(index, name)
		cpu, times, bytes = append(cpu, c.cpu), append(times, float64(c.cpu)/float64(reference.cpu)), append(bytes, c.bytes)
	}
	return cost{name, median(cpu), median(times), median(bytes)}
}

func median[T cmp.Ordered](all []T) T {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// All that an attempt costs counts, not what the authenticator does alone: TLS has parsed a certificate, and verified a
// signature with its key, before the authenticator sees it.
func TestNoCertificateCostsMoreThan10TimesTheRightOneOr1MiB(t *testing.T) {
	f := newFloor(t)
	attacker, der := startAttacker(t, f.address)
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	f.trust = f.trust.WithAnchors([]*x509.Certificate{authority})
	f.setRefinery("press", func(*v1alpha1.Refinery) {})
	tried := admittest.Mutations()
	right := slices.IndexFunc(tried, func(m admittest.Mutation) bool { return m.Name == "the right one" })
	var all []cost
	for index, mutation := range tried {
		c := attacker.costOf(index, mutation.Name, right)
		if c.times > maxTimesTheRightOne || c.bytes > maxAttemptBytes {
			t.Errorf("too dear:%v", c)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b cost) int { return cmp.Compare(b.times, a.times) })
	t.Logf("by CPU, the dearest of %d, and the right one:%v%v", len(all), all[:5], all[slices.IndexFunc(all, func(c cost) bool { return c.name == "the right one" })])
	slices.SortFunc(all, func(a, b cost) int { return cmp.Compare(b.bytes, a.bytes) })
	t.Logf("by memory:%v", all[:5])
}
