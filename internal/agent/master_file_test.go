package agent

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/masterfile"
)

// followFile has the node of a site take what it needs to know of its master from a file, and returns what writes that.
func (s *site) followFile(t *testing.T) (write func(masterfile.Settings)) {
	t.Helper()
	directory := t.TempDir()
	write = func(settings masterfile.Settings) {
		t.Helper()
		put(t, directory, map[string][]byte{masterfile.Name: []byte(settings.Encode())})
	}
	write(s.config.Settings)
	s.config.Settings, s.config.MasterFile = masterfile.Settings{}, filepath.Join(directory, masterfile.Name)
	return write
}

func TestANodeMovesToWhereTheFileSaysAndIsNeverWithout(t *testing.T) {
	t.Parallel()
	first := newSite(t)
	settings := first.config.Settings
	write := first.followFile(t)
	n := startNode(t, first.config)
	n.awaitReady(t)
	second := newMaster(t, first.ca)
	second.accept(first.pair.certificate)

	settings.Address = second.address
	settings.AliveInterval, settings.AliveTimeout = 2*time.Second, 5*time.Second
	write(settings)
	second.await(t, n.config.ID)
	eventually(t, "the first session ends", func() bool { return first.session(n.config.ID) == nil })
	n.awaitReady(t)
	if n.log.count("session ended") > 0 || !n.metric(t, "refinery_agent_reconnects_total 0") {
		t.Errorf("the node was without a session:\n%s", n.log.String())
	}
}

func TestAFileThatCannotBeUsedCostsNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, says string }{
		"empty":     {"", "is not as the operator writes it"},
		"address":   {`{"address":"alpha","aliveIntervalSeconds":10,"aliveTimeoutSeconds":35}`, `says in the place of a flag: --address=\"alpha\": it is not host:port`},
		"heartbeat": {`{"address":"alpha:1","aliveIntervalSeconds":10,"aliveTimeoutSeconds":11}`, "says in the place of a flag: --alive-timeout=11s: write at least twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.followFile(t)
			n := startNode(t, s.config)
			n.awaitReady(t)
			session := s.session(n.config.ID)
			put(t, filepath.Dir(s.config.MasterFile), map[string][]byte{masterfile.Name: []byte(test.text)})
			eventually(t, "the log says what is wrong", func() bool { return strings.Contains(n.log.String(), test.says) })
			if !n.ready(t) || s.session(n.config.ID) != session {
				t.Error("the session was lost, or another made")
			}
		})
	}
}

func TestTheGraceFollowsTheFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	settings := s.config.Settings
	s.config.ReadinessGrace = graceOfTimeout
	settings.AliveInterval, settings.AliveTimeout = time.Second, 20*time.Second
	write := s.followFile(t)
	write(settings)
	n := startNode(t, s.config)
	n.awaitReady(t)
	if got := n.loop.grace(n.loop.proven); got != 20*time.Second {
		t.Errorf("a node that lost its session stays ready for %s", got)
	}
}
