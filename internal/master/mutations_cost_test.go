//go:build !race

package master

import (
	"bufio"
	"crypto/tls"
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
	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	maxAttemptCPU   = 5 * time.Millisecond
	maxAttemptBytes = 1 << 20
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
	m := newMint(t)
	var certificates []tls.Certificate
	for _, mutation := range mutations() {
		certificates = append(certificates, mutation.make(m))
	}
	_, _ = fmt.Fprintln(say, hex.EncodeToString(m.trusted.certificate.Raw))
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
	name  string
	cpu   time.Duration
	bytes uint64
}

func (c cost) String() string {
	return fmt.Sprintf("\n%-40s %5.2f ms of CPU %5d KiB", c.name, float64(c.cpu)/float64(time.Millisecond), c.bytes>>10)
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

// All that an attempt costs counts, not what the authenticator does alone: TLS has parsed a certificate, and verified a
// signature with its key, before the authenticator sees it.
func TestNoCertificateCostsMoreThan5msOfCPUOr1MiB(t *testing.T) {
	f := newFloor(t)
	attacker, der := startAttacker(t, f.address)
	trust := trusting(&authority{certificate: (&mint{TB: t}).parsed(der)})
	f.trust.Roots, f.trust.anchors, f.trust.authorities = trust.Roots, trust.anchors, trust.authorities
	f.setRefinery("press", func(*v1alpha1.Refinery) {})
	var all []cost
	for index, mutation := range mutations() {
		const tries = 9
		var times []time.Duration
		var sizes []uint64
		for range tries {
			before := used(t)
			if got := attacker.tries(index); got != "out" {
				t.Fatalf("%s: %s", mutation.name, got)
			}
			after := used(t)
			times, sizes = append(times, after.cpu-before.cpu), append(sizes, after.bytes-before.bytes)
		}
		slices.Sort(times)
		slices.Sort(sizes)
		c := cost{mutation.name, times[tries/2], sizes[tries/2]}
		if c.cpu > maxAttemptCPU || c.bytes > maxAttemptBytes {
			t.Errorf("too dear:%v", c)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b cost) int { return int(b.cpu - a.cpu) })
	t.Logf("by CPU, the dearest of %d, and the right one:%v%v", len(all), all[:5], all[slices.IndexFunc(all, func(c cost) bool { return c.name == "the right one" })])
	slices.SortFunc(all, func(a, b cost) int { return int(b.bytes) - int(a.bytes) })
	t.Logf("by memory:%v", all[:5])
}
