package agent

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestWhatAWorkloadMaySay(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                              "",
		`{"load":0.25}`:                   "0.2500",
		`{"load":0,"status":""}`:          "0.0000",
		`{"load":-0.0}`:                   "0.0000",
		`{"load":1,"status":"ok"}` + "\n": "1.0000 ok",
		`{"load":null,"status":"hopper \u0022 empty"}`:  ` hopper " empty`,
		`{"status":"` + strings.Repeat("ü", 128) + `"}`: " " + strings.Repeat("ü", 128),
		`{"load":-1}`:           "load is not between 0 and 1",
		`{"load":1.01}`:         "load is not between 0 and 1",
		`{"load":1e309}`:        "cannot unmarshal number 1e309",
		`{"load":NaN}`:          "invalid character 'N'",
		`{"load":"0.5"}`:        "cannot unmarshal string",
		`{"laod":0.5}`:          `unknown field "laod"`,
		`{"load":0.5} {}`:       "something follows",
		`{"status":"a\u0007b"}`: "status has characters that cannot be printed",
		`{"status":"` + strings.Repeat("s", maxStatusBytes+1) + `"}`: "status is longer than 256 bytes",
		`{"status":"` + strings.Repeat("s", 64<<10) + `"}`:           "it is longer than 2048 bytes",
		``:   "EOF",
		`[]`: "cannot unmarshal array",
	} {
		l, err := parseLoad([]byte(text))
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		default:
			if l.Load != nil {
				got = decimal(*l.Load)
			}
			if l.Status != "" {
				got += " " + l.Status
			}
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%.80q: %s, want %s", text, got, want)
		}
	}
}

// whatever load is taken, what is sent is a number from 0 to 1 of at most 16 bytes, and the same to four places.
func TestALoadThatIsTakenCanBeSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load := rapid.Float64().Draw(t, "load")
		l, err := parseLoad(fmt.Appendf(nil, `{"load":%v}`, load))
		if taken := load >= 0 && load <= 1; (err == nil) != taken {
			t.Fatalf("taken: %v", err)
		}
		if err != nil {
			return
		}
		text := decimal(*l.Load)
		sent, err := strconv.ParseFloat(text, 64)
		if err != nil || len(text) > 16 || strings.HasPrefix(text, "-") || sent < 0 || sent > 1 || max(sent-load, load-sent) > 0.0001 {
			t.Fatalf("%v is sent as %s", load, text)
		}
	})
}

// heartbeat is what one would report.
func (l *loads) heartbeat() string {
	status, load, ok := l.report()
	if !ok {
		return "nothing"
	}
	return fmt.Sprintf("%q %q", status, load)
}

func newTestLoads(t *testing.T, edit func(*Config)) (*loads, *buffer) {
	t.Helper()
	var c Config
	edit(&c)
	log := &buffer{}
	return newLoads(c, slog.New(slog.NewTextHandler(log, nil)), newMetrics()), log
}

func TestWhatAWorkloadSaidCountsForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLoads(t, func(*Config) {})
		want := func(report string) {
			t.Helper()
			if got := l.heartbeat(); got != report {
				t.Errorf("a heartbeat reports %s, want %s", got, report)
			}
		}
		take := func(text string) {
			t.Helper()
			if err := l.take([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		want("nothing")
		take(`{"load":0.5,"status":"hopper empty"}`)
		want(`"hopper empty" "0.5000"`)
		time.Sleep(time.Minute - 1)
		want(`"hopper empty" "0.5000"`)
		if err := l.take([]byte(`{"load":2}`)); err == nil {
			t.Error("a load of 2 was taken")
		}
		time.Sleep(time.Nanosecond)
		want(`"" ""`) // it is taken back
		take(`{"load":0.5}`)
		want(`"" "0.5000"`)
		take(`{"status":"ok"}`)
		want(`"ok" ""`)
	})
}

func TestTheFileCountsFromWhenItWasSeenToChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "load.json")
		l, log := newTestLoads(t, func(c *Config) { c.LoadFile = file })
		written := time.Now().Add(-24 * 365 * time.Hour) // by another clock
		for _, step := range []struct {
			write string // "": nothing
			after time.Duration
			want  string
			lines int // of the log, in all
		}{
			{"", 0, "nothing", 0},
			{`{"load":0.5}`, 0, `"" "0.5000"`, 0},
			{"", 59 * time.Second, `"" "0.5000"`, 0},
			{`{"load":0.5}`, 0, `"" "0.5000"`, 0}, // the same again, and new
			{"", 59 * time.Second, `"" "0.5000"`, 0},
			{`{"load":NaN}`, 0, `"" "0.5000"`, 1},
			{"", 0, `"" "0.5000"`, 1},
			{"", time.Second, `"" ""`, 1},
			{strings.Repeat(" ", 64<<10), 0, `"" ""`, 2},
			{`{"load":1,"status":"ok"}`, 0, `"ok" "1.0000"`, 2},
		} {
			if step.write != "" {
				written = written.Add(time.Millisecond)
				if err := os.WriteFile(file, []byte(step.write), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(file, written, written); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(step.after)
			l.look()
			if got := l.heartbeat(); got != step.want || log.count("--load-file") != step.lines {
				t.Errorf("%+v: %s, log:\n%s", step, got, log)
			}
		}
	})
}

func TestAFileThatIsANamedPipeHoldsNothingUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "load.json")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	l, log := newTestLoads(t, func(c *Config) { c.LoadFile = file })
	l.look()
	l.look()
	if got := l.heartbeat(); got != "nothing" || log.count("--load-file") != 1 {
		t.Errorf("%s, log:\n%s", got, log)
	}
}

func TestTheShareOfACgroupIsTheLoadWhereTheWorkloadSaysNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		l, log := newTestLoads(t, func(c *Config) { c.LoadCgroup = directory })
		for _, step := range []struct {
			stat, quota, said, want string
			lines                   int // of the log, in all
		}{
			{"usage_usec 1000000\nuser_usec 1\n", "50000 100000\n", "", `"" ""`, 0}, // nothing to compare it with
			{"usage_usec 2000000\n", "50000 100000\n", "", `"" "0.4000"`, 0},        // of 5 s, half of which is its own
			{"usage_usec 2000000\n", "50000 100000\n", "", `"" "0.0000"`, 0},
			{"usage_usec 9000000\n", "50000 100000\n", "", `"" "1.0000"`, 0}, // no more than all
			{"usage_usec 1000000\n", "50000 100000\n", "", `"" ""`, 0},       // made anew
			{"usage_usec 2000000\n", "200000 100000\n", `{"status":"ok"}`, `"ok" "0.1000"`, 0},
			{"usage_usec 3000000\n", "200000 100000\n", `{"load":0.9}`, `"" "0.9000"`, 0},
			{"usage_usec -1\n", "200000 100000\n", `{}`, `"" ""`, 1},
			{"usage_usec 4000000\n", "0 0\n", `{}`, `"" ""`, 2},
		} {
			for name, text := range map[string]string{"cpu.stat": step.stat, "cpu.max": step.quota} {
				if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if step.said != "" {
				if err := l.take([]byte(step.said)); err != nil {
					t.Fatal(err)
				}
			}
			l.look()
			if got := l.heartbeat(); got != step.want || log.count("--load-cgroup") != step.lines {
				t.Errorf("%+v: %s, log:\n%s", step, got, log)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

func TestLoadIsTakenFromThisMachineOnly(t *testing.T) {
	const valid = `{"load":0.5}`
	for _, test := range []struct {
		name, remote, host, origin, body string
		want                             int
		through                          string // a header that a proxy adds
	}{
		{"loopback", "127.0.0.1:5", "127.0.0.1:8081", "", valid, http.StatusNoContent, ""},
		{"loopback by name", "[::1]:5", "localhost:8081", "", valid, http.StatusNoContent, ""},
		{"IPv6", "[::1]:5", "[::1]:8081", "", valid, http.StatusNoContent, ""},
		{"another machine", "10.0.0.7:5", "10.0.0.1:8081", "", valid, http.StatusForbidden, ""},
		{"another machine that lies", "10.0.0.7:5", "127.0.0.1:8081", "", valid, http.StatusForbidden, ""},
		{"a page whose name leads here", "127.0.0.1:5", "evil.example:8081", "", valid, http.StatusForbidden, ""},
		{"a page of another site", "127.0.0.1:5", "127.0.0.1:8081", "https://evil.example", valid, http.StatusForbidden, ""},
		{"no number", "127.0.0.1:5", "127.0.0.1:8081", "", `{"load":1e309}`, http.StatusBadRequest, ""},
		{"too long", "127.0.0.1:5", "127.0.0.1:8081", "", strings.Repeat(" ", 64<<10), http.StatusBadRequest, ""},
		{"a proxy of this machine", "127.0.0.1:5", "127.0.0.1:8081", "", valid, http.StatusForbidden, "X-Forwarded-For"},
		{"another one", "127.0.0.1:5", "127.0.0.1:8081", "", valid, http.StatusForbidden, "Forwarded"},
	} {
		l, _ := newTestLoads(t, func(*Config) {})
		r := httptest.NewRequest(http.MethodPost, "/load", strings.NewReader(test.body))
		r.RemoteAddr, r.Host = test.remote, test.host
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		if test.through != "" {
			r.Header.Set(test.through, "by=proxy")
		}
		answer := httptest.NewRecorder()
		workloadHandler(nil, l).ServeHTTP(answer, r)
		if said := l.heartbeat() != "nothing"; answer.Code != test.want || said != (test.want == http.StatusNoContent) {
			t.Errorf("%s: %d %s, taken: %v", test.name, answer.Code, answer.Body, said)
		}
	}
}

func TestWhatTheWorkloadPostsReachesTheMaster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.config.AliveInterval = time.Second
	n := startNode(t, s.config)
	n.awaitReady(t)
	response, err := http.Post("http://"+n.address("http-address")+"/load", "application/json", strings.NewReader(`{"load":0.25,"status":"hopper empty"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Error(response.Status)
	}
	session := s.await(t, s.config.ID)
	eventually(t, "the master has the report", func() bool {
		status, load := session.Load()
		return status == "hopper empty" && load == "0.2500"
	})
	if !n.metric(t, `refinery_agent_load_reports_total{result="accepted"} 1`) {
		t.Error("it is not counted")
	}
	http.DefaultClient.CloseIdleConnections()
}
