package master

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// histogram matches lines of histograms: how long something took, a test cannot know.
var histogram = regexp.MustCompile(`^[a-z_]+_seconds_(bucket|sum|count)`)

// scraped are a master's own metrics as they are scraped, without histograms and the prefix that all have.
func scraped(m *metrics) (lines []string) {
	page := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if line, ok := strings.CutPrefix(strings.TrimSpace(line), "refinery_master_"); ok && !histogram.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestMetrics(t *testing.T) {
	m := newMetrics()
	m.lead(7, newLedger(t, 1).registry)
	m.observe(protocol.Stats{Sessions: 3, Handshaking: 2, Waiting: 1})
	m.refusal(nil, protocol.ErrTLS)
	m.refusal(nil, errors.New("what the peer sent"))
	m.wrote("Refinery", "ok", time.Second)
	m.handshakes.WithLabelValues("Authenticated").Inc()
	m.ended.WithLabelValues("Silent").Inc()
	m.tookOver(2*time.Second, move{Presumed: 3, Back: 2})
	want := []string{
		"active 1",
		`ended_sessions_total{reason="Silent"} 1`,
		"epoch 7",
		`handshakes_total{result="Authenticated"} 1`,
		"ignored_reports_total 0",
		`refused_connections_total{cause="Network"} 1`,
		`refused_connections_total{cause="TLS"} 1`,
		`sessions{state="Authenticated"} 3`,
		`sessions{state="Handshaking"} 2`,
		`sessions{state="Waiting"} 1`,
		`status_writes_total{kind="Refinery",result="ok"} 1`,
		`taken_over_nodes_total{result="Back"} 2`,
		`taken_over_nodes_total{result="Lost"} 1`,
		"takeover_seconds 2",
		"takeovers_total 1",
	}
	if diff := cmp.Diff(want, scraped(m)); diff != "" {
		t.Errorf("active (-want +got):\n%s", diff)
	}
	m.standBy()
	for i, line := range want {
		if strings.HasPrefix(line, "active") || strings.HasPrefix(line, "epoch") || strings.HasPrefix(line, "sessions{") {
			want[i] = line[:strings.LastIndex(line, " ")] + " 0"
		}
	}
	if diff := cmp.Diff(want, scraped(m)); diff != "" {
		t.Errorf("standing by (-want +got):\n%s", diff)
	}
}
