package load

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// What a scenario leaves running would be measured with the next.
func TestALoadDoesWhatItIsAskedForAndLeavesNothingRunning(t *testing.T) {
	credentials := subject.NewCredentials()
	const sessions = 4
	for _, name := range []string{subject.Refinery, subject.Floor} {
		for _, transport := range []subject.Transport{subject.Plaintext, subject.ServerTLS, subject.MutualTLS} {
			t.Run(fmt.Sprintf("%s/%s", name, transport), func(t *testing.T) {
				setting := subject.Setting{Transport: transport, Credentials: credentials}
				address, err := subject.Serve(name, setting, "")
				if err != nil {
					t.Fatal(err)
				}
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // The server runs until the process ends.
				var l Load
				must(t, l.Target(Target{Subject: name, Setting: setting, Address: address}, nil))
				must(t, l.Open(sessions, nil))
				var beaten Done
				if must(t, l.Beat(10*time.Millisecond, &beaten)); beaten.Count < sessions || beaten.Elapsed < 10*time.Millisecond {
					t.Errorf("%d heartbeats in %v", beaten.Count, beaten.Elapsed)
				}
				if must(t, l.Beat(0, &beaten)); beaten.Count != sessions {
					t.Errorf("%d heartbeats in no time, want 1 of each session", beaten.Count)
				}
				if must(t, l.Pace(Pace{Interval: 5 * time.Millisecond, For: 25 * time.Millisecond}, &beaten)); beaten.Count != 5*sessions {
					t.Errorf("%d heartbeats, want 5 of each session", beaten.Count)
				}
				must(t, l.Part(struct{}{}, nil))
				var shaken Done
				if must(t, l.Handshakes(Handshakes{Workers: 2, For: 10 * time.Millisecond}, &shaken)); shaken.Count < 2 {
					t.Errorf("%d handshakes", shaken.Count)
				}
				if must(t, l.Handshakes(Handshakes{Workers: 2}, &shaken)); shaken.Count != 2 {
					t.Errorf("%d handshakes in no time, want 1 of each worker", shaken.Count)
				}
				must(t, l.Fleet(sessions, nil))
				var returned Returned
				if err := l.Await(Await{Since: time.Now(), For: time.Millisecond}, &returned); err == nil {
					t.Error("nodes came back that had lost nothing")
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
