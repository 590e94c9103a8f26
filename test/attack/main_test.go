// Package attack shows that a master under attack goes on serving those that are let in: over real sockets on loopback,
// with mutual TLS, the master, a fleet of good nodes and the attackers each in a process of their own. Every attack is
// bounded in connections and time.
package attack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays all roles: which one is in the environment, with what the role has to know as JSON.
const (
	roleVariable   = "ATTACK_ROLE"
	configVariable = "ATTACK_CONFIG"
)

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	raiseDescriptors()
	switch role := os.Getenv(roleVariable); role {
	case "":
		goleak.VerifyTestMain(m)
	case "master":
		play(runMaster)
	case "fleet":
		play(runFleet)
	case "attacker":
		play(runAttacker)
	default:
		panic("no such role: " + role)
	}
}

// raiseDescriptors raises the soft limit of open descriptors to the hard one.
func raiseDescriptors() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// play runs a role: it gets its configuration and a channel of orders, which is closed when it is to end, and answers
// each order, and its own start, with one JSON value.
func play[C any](role func(config C, orders <-chan string, answer func(any)) error) {
	var config C
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &config); err != nil {
		panic(err)
	}
	orders := make(chan string)
	go func() {
		defer close(orders)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			orders <- in.Text()
		}
	}()
	out := json.NewEncoder(os.Stdout)
	err := role(config, orders, func(v any) {
		if err := out.Encode(v); err != nil {
			panic(err)
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a role that runs in a process of its own.
type process struct {
	t       *testing.T
	name    string
	stdin   io.WriteCloser
	answers chan json.RawMessage
	ended   chan error
}

// start runs a role and waits for its first answer, which is stored in ready. It ends with the test.
func start(t *testing.T, role string, config, ready any) *process {
	t.Helper()
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "-test.run=^$")
	command.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(encoded))
	command.Stderr = os.Stderr
	p := &process{t: t, name: role, answers: make(chan json.RawMessage), ended: make(chan error, 1)}
	if p.stdin, err = command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for in := json.NewDecoder(stdout); ; {
			var answer json.RawMessage
			if in.Decode(&answer) != nil {
				break
			}
			p.answers <- answer
		}
		close(p.answers)
		p.ended <- command.Wait()
	}()
	t.Cleanup(p.stop)
	p.answer(ready)
	return p
}

// stop ends the process by closing its standard input.
func (p *process) stop() {
	_ = p.stdin.Close()
	for range p.answers {
		continue // Nobody waits for what it still says.
	}
	if err := <-p.ended; err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	p.ended <- nil // It may be stopped twice.
}

// ask gives an order and stores the answer.
func (p *process) ask(order string, answer any) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, order); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	p.answer(answer)
}

func (p *process) answer(v any) {
	p.t.Helper()
	select {
	case b, ok := <-p.answers:
		if !ok {
			p.t.Fatalf("%s has ended", p.name)
		}
		if err := json.NewDecoder(strings.NewReader(string(b))).Decode(v); err != nil {
			p.t.Fatalf("%s said %s: %v", p.name, b, err)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s does not answer", p.name)
	}
}
