package process

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// threads is more than the runtime has started for itself.
const threads = 20

// work makes so many system calls and allocations, on threads that all live at once and end with it.
func work(times int) {
	var all, done sync.WaitGroup
	all.Add(threads)
	for range threads {
		done.Go(func() {
			runtime.LockOSThread() // The thread ends with the goroutine.
			all.Done()
			all.Wait()
			var kept []byte
			for range times / threads {
				unix.Getppid()
				kept = make([]byte, 64)
			}
			runtime.KeepAlive(&kept)
		})
	}
	done.Wait()
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
	const times = 100_000
	work(times)
	var counter Counter
	if err := counter.Count(countable, nil); err != nil {
		t.Fatal(err)
	}
	work(times)
	var counts Counts
	if err := counter.Counted(struct{}{}, &counts); err != nil {
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
