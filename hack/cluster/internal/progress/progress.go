// Package progress tells a person what long work is doing: a line when a step takes long, a line when it is done.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// quiet is how long a step may run before it is announced.
	quiet = 2 * time.Second
	// heartbeat is the time between two lines of a step that continues.
	heartbeat = 15 * time.Second
)

// Writer prints steps, one line at a time. The zero value is not usable; see New. Steps may run at once.
type Writer struct {
	mu  sync.Mutex
	out io.Writer
}

// New returns a Writer that prints to out.
func New(out io.Writer) *Writer { return &Writer{out: out} }

// Printf prints one line.
func (w *Writer) Printf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format+"\n", args...)
}

// Step runs f. From two seconds on it prints what runs and for how long, then that it is done; a shorter step prints nothing.
// The error of f comes back with the name of the step before it.
func (w *Writer) Step(what string, f func() error) error {
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()

	timer := time.NewTimer(quiet)
	defer timer.Stop()
	announced := false
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if announced {
				w.Printf("%s: done in %s", what, elapsed(start))
			}
			return nil
		case <-timer.C:
			if announced {
				w.Printf("%s … %s", what, elapsed(start))
			} else {
				w.Printf("%s …", what)
			}
			announced = true
			timer.Reset(heartbeat)
		}
	}
}

func elapsed(since time.Time) string {
	return time.Since(since).Round(time.Second).String()
}
