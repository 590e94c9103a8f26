package process

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

var sink []byte

// work makes so many system calls and allocations, on a thread of its own.
func work(times int) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // The thread ends with the goroutine.
		for range times {
			unix.Getppid()
			sink = make([]byte, 64)
		}
		close(done)
	}()
	<-done
}

func TestCountsAreOfAllThreadsAndOfNothingBefore(t *testing.T) {
	var countable []Event
	for _, event := range Events() {
		if err := event.Countable(); err != nil {
			t.Logf("%s cannot be counted here, and the report says so: %v", event, err)
		} else {
			countable = append(countable, event)
		}
	}
	const times = 10_000
	work(times)
	counter, err := StartCounting(countable)
	if err != nil {
		t.Fatal(err)
	}
	work(times)
	counts, err := counter.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if counts.Allocations < times || counts.Allocations > times*3/2 || counts.Bytes < 64*times || counts.Bytes > 64*times*3/2 {
		t.Errorf("%d allocations of %d bytes, want about %d of %d", counts.Allocations, counts.Bytes, times, 64*times)
	}
	for i, event := range countable {
		n := counts.Events[i]
		if n < times || event == SystemCalls && n > times*3/2 {
			t.Errorf("%d %s, want about %d", n, event, times)
		}
	}
}

func TestAnUnknownEventIsNotCounted(t *testing.T) {
	if err := Event("dreams").Countable(); err == nil {
		t.Error("dreams are counted")
	}
}
