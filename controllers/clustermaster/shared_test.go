package clustermaster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/internal/resource"
)

const (
	oneShared   = "one that is long enough"
	otherShared = "another, also long enough"
)

func TestStepsOfTheSharedCertificate(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	one, other := []byte(oneShared), []byte(otherShared)
	until := now.Add(time.Hour)
	for name, test := range map[string]struct {
		held    resource.Shared
		wanted  []byte
		loaded  bool
		overlap time.Duration
		want    resource.Shared
	}{
		"the first":                                    {resource.Shared{}, one, false, time.Hour, resource.Shared{Certificate: one, Generation: 1}},
		"what holds nothing usable is replaced":        {resource.Shared{Certificate: []byte("x"), Generation: 4}, one, true, time.Hour, resource.Shared{Certificate: one, Generation: 5}},
		"nothing else is wanted":                       {resource.Shared{Certificate: one, Generation: 1}, nil, true, time.Hour, resource.Shared{Certificate: one, Generation: 1}},
		"the same is wanted, with blanks":              {resource.Shared{Certificate: one, Generation: 1}, []byte(oneShared + "\n"), true, time.Hour, resource.Shared{Certificate: one, Generation: 1}},
		"another, masters first":                       {resource.Shared{Certificate: one, Generation: 1}, other, true, time.Hour, resource.Shared{Certificate: one, Next: other, Generation: 2}},
		"not loaded yet":                               {resource.Shared{Certificate: one, Next: other, Generation: 2}, other, false, time.Hour, resource.Shared{Certificate: one, Next: other, Generation: 2}},
		"loaded":                                       {resource.Shared{Certificate: one, Next: other, Generation: 2}, other, true, time.Hour, resource.Shared{Certificate: other, Former: one, Until: until, Generation: 3}},
		"a third one waits until the overlap is over":  {resource.Shared{Certificate: other, Next: []byte("a third, as long as these"), Former: one, Until: until, Generation: 4}, []byte("a third, as long as these"), true, time.Hour, resource.Shared{Certificate: other, Next: []byte("a third, as long as these"), Former: one, Until: until, Generation: 4}},
		"of a Secret that was deleted":                 {resource.Shared{Generation: 7}, one, false, time.Hour, resource.Shared{Certificate: one, Generation: 8}},
		"taken back before it was given to nodes":      {resource.Shared{Certificate: one, Next: other, Generation: 2}, one, true, time.Hour, resource.Shared{Certificate: one, Generation: 3}},
		"the overlap goes on":                          {resource.Shared{Certificate: other, Former: one, Until: until, Generation: 3}, other, true, time.Hour, resource.Shared{Certificate: other, Former: one, Until: until, Generation: 3}},
		"the overlap is over":                          {resource.Shared{Certificate: other, Former: one, Until: now, Generation: 3}, other, true, time.Hour, resource.Shared{Certificate: other, Generation: 4}},
		"at once without an overlap":                   {resource.Shared{Certificate: one, Generation: 1}, other, false, 0, resource.Shared{Certificate: other, Generation: 2}},
		"the overlap is taken away":                    {resource.Shared{Certificate: other, Former: one, Until: until, Generation: 3}, other, true, 0, resource.Shared{Certificate: other, Generation: 4}},
		"what is provided is not good while one waits": {resource.Shared{Certificate: one, Next: other, Generation: 2}, nil, true, time.Hour, resource.Shared{Certificate: one, Generation: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, nextShared(test.held, test.wanted, test.loaded, test.overlap, now)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// However often what is provided changes, with an overlap: what a node was given is let in by the master, whichever version of the
// Secret either has loaded, as long as no node lags behind by as much as the overlap.
func TestNodesAreNeverGivenWhatTheMasterDoesNotLetIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
		held := nextShared(resource.Shared{}, []byte(oneShared), false, time.Hour, now)
		master, node := held, held
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				master = held
			case 1:
				node = held
			case 2:
				now = now.Add(20 * time.Minute)
				master, node = held, held // nobody lags behind by more than that
			case 3:
				wanted := rapid.SampledFrom([]string{oneShared, otherShared, "a third, as long as these"}).Draw(t, "wanted")
				held = nextShared(held, []byte(wanted), master.Generation >= held.Generation, time.Hour, now)
			}
			let := map[string]bool{string(master.Certificate): true, string(master.Next): true}
			if now.Before(master.Until) {
				let[string(master.Former)] = true
			}
			if !let[string(node.Certificate)] {
				t.Fatalf("a node has %q, and the master lets in %v", node.Certificate, let)
			}
		}
	})
}
