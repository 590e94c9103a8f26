package outage

import (
	"slices"
	"time"
)

// timeline is when something about a node became true, or ceased to be.
type timeline []change

type change struct {
	at time.Time
	on bool
}

// add appends a change. What changes nothing is left out.
func (t *timeline) add(at time.Time, on bool) {
	if n := len(*t); n == 0 || (*t)[n-1].on != on {
		*t = append(*t, change{at, on})
	}
}

// at reports what was so at a time.
func (t timeline) at(when time.Time) bool {
	on := false
	for _, c := range t {
		if c.at.After(when) {
			break
		}
		on = c.on
	}
	return on
}

// longestOff is the longest time without interruption, from one time to another, in which it was not so.
func (t timeline) longestOff(from, to time.Time) (longest time.Duration) {
	since, on := from, t.at(from)
	for _, c := range append(slices.Clone(t), change{to, true}) {
		if !c.at.After(from) || c.at.After(to) {
			continue
		}
		if c.on && !on {
			longest = max(longest, c.at.Sub(since))
		}
		since, on = c.at, c.on
	}
	return longest
}

// offs counts how often it ceased to be so within a time.
func (t timeline) offs(from, to time.Time) (n int) {
	for _, c := range t {
		if !c.on && c.at.After(from) && !c.at.After(to) {
			n++
		}
	}
	return n
}

// first is the first change to what is so, or is not, after a time.
func (t timeline) first(on bool, after time.Time) (at time.Time, ok bool) {
	for _, c := range t {
		if c.on == on && c.at.After(after) {
			return c.at, true
		}
	}
	return time.Time{}, false
}

// cutOff returns what it is when nothing counts from a time on until the next change to true: a session with a master that
// is frozen, or that no packet reaches, is none.
func (t timeline) cutOff(from time.Time) timeline {
	var cut timeline
	done := false
	for _, c := range t {
		if !done && c.at.After(from) {
			cut.add(from, false)
			done = true
		}
		cut.add(c.at, c.on)
	}
	if !done {
		cut.add(from, false)
	}
	return cut
}
