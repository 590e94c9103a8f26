package conformance

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// playMutant runs every case against a fake peer, in memory and with a clock that needs no waiting.
func playMutant(t *testing.T, peer side, m mutation) (results []Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &Options{
			peer: peer, Transport: Plaintext, RefusedVersion: "9.9.9", Slow: true, Patience: 2 * time.Second,
			AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second, HandshakeTimeout: 10 * time.Second,
			EstablishBytes: 4096, AuthStartBytes: 65536, SessionBytes: 4096, MaxMessageBytes: 65536, ConnectTimeout: time.Minute,
			credentials: credentials{authCertificate: "a", deniedCertificate: "b"},
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		s := &suite{peer: peer, patience: o.Patience}
		if peer == master {
			o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
			s.connect = func(context.Context, via) (net.Conn, error) {
				kit, own, gone := newDuplex()
				go fakeMaster(o, m, own, gone)
				return kit, nil
			}
		} else {
			connections := make(chan net.Conn)
			go fakeRefinery(ctx, o, m, connections)
			s.connect = func(context.Context, via) (net.Conn, error) {
				select {
				case c := <-connections:
					return c, nil
				case <-time.After(o.ConnectTimeout):
					return nil, errors.New("no refinery connected")
				}
			}
		}
		s.run(ctx, casesOf(o), func(r Result) { results = append(results, r) })
	})
	return results
}

func failed(results []Result) []string {
	names := []string{}
	for _, r := range results {
		if r.Outcome != Pass {
			names = append(names, r.Name)
		}
	}
	return names
}

// names returns a function of a run with nothing broken: the given names.
func names(want ...string) func([]Result) []string {
	return func([]Result) []string { return want }
}

// receiving returns the names of the cases that, with nothing broken, receive the message.
func receiving(code string) func([]Result) []string {
	return func(sound []Result) (want []string) {
		for _, r := range sound {
			if slices.ContainsFunc(r.Received, func(m string) bool { return strings.HasPrefix(m, code+separator) }) {
				want = append(want, r.Name)
			}
		}
		return want
	}
}

// allBut returns the names of all cases but those given.
func allBut(pass ...string) func([]Result) []string {
	return func(sound []Result) (want []string) {
		for _, r := range sound {
			if !slices.Contains(pass, r.Name) {
				want = append(want, r.Name)
			}
		}
		return want
	}
}

func faults(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

type mutantTest struct {
	name string
	mutation
	fails func(sound []Result) []string
}

func runMutants(t *testing.T, peer side, mutants []mutantTest) {
	sound := playMutant(t, peer, mutation{})
	for _, r := range sound {
		if r.Outcome != Pass {
			t.Errorf("with nothing broken: %s: %s\n%s", r.Outcome, r.Name, r.details("  "))
		}
	}
	for _, tc := range mutants {
		t.Run(tc.name, func(t *testing.T) {
			want := slices.Sorted(slices.Values(tc.fails(sound)))
			results := playMutant(t, peer, tc.mutation)
			got := slices.Sorted(slices.Values(failed(results)))
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("cases that failed (-want +got):\n%s", d)
			}
			if len(want) == 0 {
				t.Error("a mutant that no case catches")
			}
		})
	}
}

func TestCasesCatchBrokenMasters(t *testing.T)    { runMutants(t, master, brokenMasters) }
func TestCasesCatchBrokenRefineries(t *testing.T) { runMutants(t, refinery, brokenRefineries) }
