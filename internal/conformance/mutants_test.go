package conformance

import (
	"context"
	"crypto/tls"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mutantOptions are those of every run against a fake.
func mutantOptions(t *testing.T, peer side, transport Transport) (o *Options, theirs *tls.Config) {
	o = &Options{
		peer: peer, Transport: transport, Slow: true, Patience: 2 * time.Second,
		AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second, HandshakeTimeout: 10 * time.Second, WriteTimeout: 5 * time.Second,
		EstablishBytes: 4096, AuthStartBytes: 65536, SessionBytes: 4096, MaxMessageBytes: 65536, TLSFlightBytes: 8192,
		MaxHandshakesPerSource: 6, ConnectTimeout: time.Minute,
		credentials: credentials{authCertificate: "certificate", deniedCertificate: "another certificate"},
	}
	if peer == master {
		o.ID, o.Version, o.Type, o.RefusedVersion = "a", "0.1.0", "refinery", "9.9.9"
	} else {
		o.UnusableUpstream = unusable
	}
	if transport == Plaintext {
		return o, nil
	}
	f := newFiles(t)
	o.authorities, o.ServerName = f.authority, "localhost"
	theirs = &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	if peer == master {
		o.own, o.denied, o.authCertificate, o.deniedCertificate = &f.client, &f.denied, leafPEM(&f.client), leafPEM(&f.denied)
		theirs.Certificates, theirs.ClientCAs, theirs.ClientAuth = []tls.Certificate{f.server}, f.authority, tls.RequireAndVerifyClientCert
	} else {
		o.own, o.authCertificate = &f.server, strings.TrimSpace(leafPEM(&f.client))
		theirs.Certificates, theirs.RootCAs, theirs.ServerName = []tls.Certificate{f.client}, f.authority, "localhost"
	}
	return o, theirs
}

// playMutant runs cases against a fake peer, in memory and with a clock that needs no waiting.
func playMutant(t *testing.T, peer side, transport Transport, m mutation) (results []Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o, theirs := mutantOptions(t, peer, transport)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		var s *suite
		if peer == master {
			fake := newFakeMaster(o, m, theirs)
			s = masterSuite(o, func(context.Context) (net.Conn, error) {
				kit, own, gone := newDuplex()
				fake.accept(own, gone)
				return kit, nil
			})
		} else {
			connections := make(chan net.Conn)
			go fakeRefinery(ctx, o, m, theirs, connections)
			s = refinerySuite(o, func(context.Context) (net.Conn, error) {
				select {
				case c := <-connections:
					return c, nil
				case <-time.After(o.ConnectTimeout):
					return nil, &nobodyCame{"the kit", o.ConnectTimeout}
				}
			})
		}
		cases := s.cases
		if transport != Plaintext {
			cases = s.selected(aboutTLS)
		}
		s.run(ctx, cases, func(r Result) { results = append(results, r) })
	})
	return results
}

// aboutTLS selects the cases that TLS has to do with, and a few more that must pass beside those that fail.
var aboutTLS = regexp.MustCompile(`^R-(1|4.1|4.2|4.5|5.8|6.2|6.8|8)`)

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
			if slices.ContainsFunc(r.Messages, func(m Message) bool { return strings.HasPrefix(m.Received, code+separator) }) {
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

func runMutants(t *testing.T, peer side, transport Transport, mutants []mutantTest) {
	t.Parallel()
	sound := playMutant(t, peer, transport, mutation{})
	for _, r := range sound {
		if r.Outcome != Pass {
			t.Errorf("with nothing broken: %s: %s\n%s", r.Outcome, r.Name, r.details("  "))
		}
	}
	for _, tc := range mutants {
		t.Run(tc.name, func(t *testing.T) {
			want := slices.Sorted(slices.Values(tc.fails(sound)))
			results := playMutant(t, peer, transport, tc.mutation)
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

func TestCasesCatchBrokenMasters(t *testing.T) { runMutants(t, master, Plaintext, brokenMasters) }
func TestCasesCatchBrokenRefineries(t *testing.T) {
	runMutants(t, refinery, Plaintext, brokenRefineries)
}

func TestCasesCatchMastersWithBrokenTLS(t *testing.T) {
	runMutants(t, master, MutualTLS, mastersWithBrokenTLS)
}

func TestCasesCatchRefineriesWithBrokenTLS(t *testing.T) {
	runMutants(t, refinery, MutualTLS, refineriesWithBrokenTLS)
}
