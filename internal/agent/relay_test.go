package agent

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// banner is an upstream that says its name to whoever connects, and echoes then.
func banner(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, name)
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

// through connects to the node's relay, and expects to be at an upstream.
func (n *node) through(t *testing.T, upstream string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", n.address("relay-address"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	got := make([]byte, len(upstream))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != upstream {
		t.Fatalf("came to %q (%v), not to %q", got, err, upstream)
	}
	return conn
}

func TestTheRelayLeadsToTheUpstreamThatWasGrantedLast(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.upstream = banner(t, "east")
	s.config.RelayAddress, s.config.RelayMaxConnections, s.config.RelayDrain = "127.0.0.1:0", 10, time.Hour
	n := startNode(t, s.config)
	old := n.through(t, "east") // it may come before the node is authenticated
	n.awaitReady(t)

	if err := s.await(t, s.config.ID).SetUpstream(banner(t, "west")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new upstream is acknowledged", func() (acked bool) {
		s.with(func() { acked = len(s.acked) == 2 })
		return acked
	})
	n.through(t, "west")
	if _, err := io.WriteString(old, "still"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("still"))
	if _, err := io.ReadFull(old, got); err != nil || string(got) != "still" {
		t.Errorf("the old connection says %q: %v", got, err)
	}
	for _, line := range []string{"refinery_agent_relay_open_connections 2", `refinery_agent_relay_connections_total{result="relayed"} 2`,
		`refinery_agent_relay_connections_total{result="limit"} 0`, `refinery_agent_relay_cut_total{reason="moved"} 0`} {
		if !n.metric(t, line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if n.log.count("did not read conn:close in time") > 0 {
		t.Error("the end waits for connections of the workload")
	}
	if _, err := old.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the agent")
	}
}

func TestThereIsNoRelayUnlessItIsAskedFor(t *testing.T) {
	t.Parallel()
	_, n := startReadyNode(t)
	if address := n.address("relay-address"); address != "" {
		t.Errorf("it listens on %s", address)
	}
	if _, body := n.get(t, "health-address", "/metrics"); strings.Contains(body, "refinery_agent_relay") {
		t.Error("it counts")
	}
}
