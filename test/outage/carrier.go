package outage

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// carrier is a process that carries the connections of masters, to the API server and to each other. It is one of its own since
// that of many nodes can be too busy to carry anything in time.
type carrier struct {
	testing.TB

	mu       sync.Mutex
	commands io.Writer
	answers  *bufio.Reader
}

// carrying in the environment makes a test binary a carrier.
const carrying = "CARRY_LINKS"

// startCarrier runs one until the test ends.
func startCarrier(t testing.TB) *carrier {
	t.Helper()
	command := exec.Command(os.Args[0]) //nolint:gosec // this very program
	command.Env = append(os.Environ(), carrying+"=1")
	command.Stderr = os.Stderr
	commands, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = commands.Close() // ends it
		if err := command.Wait(); err != nil {
			t.Errorf("the carrier of links: %v", err)
		}
	})
	return &carrier{TB: t, commands: commands, answers: bufio.NewReader(answers)}
}

// tell returns when the carrier has done what it was told.
func (c *carrier) tell(words ...string) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := fmt.Fprintln(c.commands, strings.Join(words, " ")); err != nil {
		c.Error(err)
		return
	}
	if answer, err := c.answers.ReadString('\n'); err != nil || answer != "done\n" {
		c.Errorf("the carrier of links was told to %s: %q, %v", words, answer, err)
	}
}

// forward returns an address that leads to a target, over a link.
func (c *carrier) forward(target string, over *carriedLink) (address string) {
	c.Helper()
	address = loopback.Reserve(c)
	c.tell("forward", over.name, address, target)
	return address
}

// carriedLink is a link in a carrier.
type carriedLink struct {
	carrier *carrier
	name    string
}

func (l *carriedLink) cut()  { l.carrier.tell("cut", l.name) }
func (l *carriedLink) mend() { l.carrier.tell("mend", l.name) }

// carry does what it is told, a line each, until there is no more.
func carry(commands io.Reader, answers io.Writer) {
	links := map[string]*link{}
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		name := words[1]
		if links[name] == nil {
			links[name] = newLink()
		}
		answer := "done"
		switch words[0] {
		case "cut":
			links[name].cut()
		case "mend":
			links[name].mend()
		case "forward":
			f := &forwarder{address: words[2], target: words[3], over: links[name]}
			if err := f.listen(); err != nil {
				answer = err.Error()
			}
		}
		_, _ = fmt.Fprintln(answers, answer) // who does not read it has ended
	}
}
