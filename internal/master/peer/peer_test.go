package peer

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// master is one end of a link in a test, and what was said to it.
type master struct {
	*Link
	mu         sync.Mutex
	lost       bool
	superseded int64
	released   int
}

func (m *master) LostAPIServer() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

func (m *master) Superseded(epoch int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.superseded = epoch
}

func (m *master) Released() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.released++
}

// masters starts some that share a key pair. Nobody listens at the addresses of those that are absent.
func masters(t *testing.T, clk clock.Clock, pods ...string) map[string]*master {
	t.Helper()
	pair := t.TempDir()
	pkitest.WriteFiles(pair, pkitest.NewAuthority("peers").Issue())
	addresses := make([]string, len(pods))
	for i := range pods {
		addresses[i] = loopback.Reserve(t)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	all := map[string]*master{}
	for i, pod := range pods {
		m := &master{lost: true}
		m.Link = &Link{Pod: pod, Addresses: addresses, Directory: pair, Master: m, Clock: clk, Log: logr.Discard()}
		m.lookUp(ctx)
		all[pod] = m
		if strings.HasPrefix(pod, "absent") {
			continue
		}
		l, err := net.Listen("tcp", addresses[i])
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := m.Serve(ctx, l); err != nil {
				t.Error(err)
			}
		})
	}
	return all
}

func TestConfirmNeedsEveryOtherMaster(t *testing.T) {
	for _, test := range []struct {
		name string
		pods []string
		edit func(map[string]*master)
		want bool
	}{
		{"all of them lost the API server", []string{"a", "b", "c"}, nil, true},
		{"there is no other", []string{"a"}, nil, true},
		{"one reaches the API server", []string{"a", "b", "c"}, func(m map[string]*master) { m["c"].lost = false }, false},
		{"one does not answer", []string{"a", "b", "absent"}, nil, false},
		{"one is active", []string{"a", "b"}, func(m map[string]*master) { m["b"].epoch = 1 }, false},
		{"they were found long ago", []string{"a"}, func(m map[string]*master) { m["a"].found = m["a"].found.Add(-2 * knownFor) }, false},
		{"none was ever found", []string{"a", "b"}, func(m map[string]*master) { m["a"].known = nil }, false},
		{"one has another key pair", []string{"a", "b"}, func(m map[string]*master) {
			m["b"].Directory = t.TempDir()
			pkitest.WriteFiles(m["b"].Directory, pkitest.NewAuthority("peers").Issue())
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Now())
			all := masters(t, clk, test.pods...)
			if test.edit != nil {
				test.edit(all)
			}
			until := all["a"].Confirm(t.Context(), 3)
			if test.want && !until.Equal(clk.Now().Add(promiseFor)) || !test.want && !until.IsZero() {
				t.Errorf("confirmed until %v", until)
			}
		})
	}
}

func TestAMasterIsToldOfANewerTerm(t *testing.T) {
	all := masters(t, clock.RealClock{}, "a", "b")
	all["b"].epoch = 7
	if until := all["a"].Confirm(t.Context(), 3); !until.IsZero() || all["a"].superseded != 7 {
		t.Errorf("confirmed until %v, superseded by %d", until, all["a"].superseded)
	}
	all["a"].TakeOver(t.Context(), 8)
	all["a"].Release(t.Context())
	if all["b"].superseded != 8 || all["b"].released != 1 {
		t.Errorf("superseded by %d, %d times released", all["b"].superseded, all["b"].released)
	}
	if all["a"].released != 0 {
		t.Error("it told itself")
	}
}

func TestAMasterThatPromisedWaitsIfItCannotTellTheFormerOne(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	all := masters(t, clk, "a", "b", "absent")
	if answer := all["a"].answer(confirmPath, message{Pod: "b", Epoch: 3}); !answer.Lost {
		t.Fatal("it does not confirm")
	}
	done := make(chan struct{})
	go func() {
		all["a"].TakeOver(context.Background(), 4)
		close(done)
	}()
	for !clk.HasWaiters() {
		select {
		case <-done:
			t.Fatal("it is active within its promise")
		case <-t.Context().Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
	if answer := all["a"].answer(confirmPath, message{Pod: "b", Epoch: 3}); answer.Lost {
		t.Error("it promises again")
	}
	clk.Step(promiseFor)
	<-done
}

// A node has a certificate that the master trusts, for the master's own name if somebody made a mistake. It has no say.
func TestNobodyElsesCertificateDeposesAMaster(t *testing.T) {
	all := masters(t, clock.RealClock{}, "a")
	address := all["a"].Addresses[0]
	authority := pkitest.NewAuthority("plant")
	for name, certificates := range map[string][]tls.Certificate{
		"a refinery's": {authority.Issue(pkitest.Client("spiffe://alpha.plant.cluster.refinery.dev/refinery/press"))},
		"a server's":   {authority.Issue(pkitest.Server("localhost"))},
		"none":         nil,
	} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}} //nolint:gosec // the stranger takes anybody
		for _, path := range []string{activePath, confirmPath, releasedPath} {
			response, err := client.Post("https://"+address+path, "application/json", strings.NewReader(`{"pod":"x","epoch":99}`))
			if err == nil {
				_ = response.Body.Close()
				t.Errorf("%s certificate: %s is answered with %s", name, path, response.Status)
			}
		}
	}
	if all["a"].superseded != 0 || all["a"].released != 0 {
		t.Errorf("superseded by %d, %d times released", all["a"].superseded, all["a"].released)
	}
}
