package agent

import (
	"log/slog"
	"time"
)

// repeatInterval is how often a failure that goes on is logged again.
const repeatInterval = time.Minute

// failureLog writes a failure when it begins or changes, and then at most once a minute with how often it happened.
type failureLog struct {
	log     *slog.Logger
	message string
	reason  string
	count   int
	began   time.Time
	written time.Time
}

func (f *failureLog) failed(reason string, retryIn time.Duration) {
	now := time.Now()
	if reason != f.reason {
		f.reason, f.count, f.began, f.written = reason, 0, now, time.Time{}
	}
	f.count++
	if !f.written.IsZero() && now.Sub(f.written) < repeatInterval {
		return
	}
	f.written = now
	f.log.Warn(f.message, "reason", reason, "attempts", f.count, "for", now.Sub(f.began).Round(time.Second),
		"retryIn", retryIn.Round(time.Millisecond))
}

func (f *failureLog) recovered() { f.reason, f.count = "", 0 }
