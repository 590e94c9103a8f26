package conformance

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCollectsTheRulesThatAMessageBreaks(t *testing.T) {
	for _, tc := range []struct {
		raw  string
		want []string
	}{
		{"conn:alive;;<EOF>", nil},
		{`auth:ack;;{"upstream":"a","x":["1"],"y":{"z":""}}<EOF>`, nil},
		{"conn:hello;;<EOF>", []string{"R-2.2: no code with its separator"}},
		{"conn:alive<EOF>", []string{"R-2.2: no code with its separator"}},
		{`auth:ack;;"{upstream":"a"}<EOF>`, []string{"R-3.5: bytes after the object", "R-3.1: not an object"}},
		{`auth:ack;;{"upstream":"a;;b"}<EOF>`, []string{"R-3.8: < or ;; stands in the payload"}},
		{`auth:ack;;{"upstream":"<"}<EOF>`, []string{"R-3.8: < or ;; stands in the payload"}},
		{`auth:ack;;{"upstream":"a","upstream":"b"}<EOF>`, []string{"R-3.3: a key stands twice"}},
		{`auth:ack;;{"upstream":"\ud83d"}<EOF>`, []string{"R-3.2: half a surrogate pair"}},
		{`auth:ack;;{"upstream":"\\ud83d \ud83d\ude00"}<EOF>`, nil},
		{`auth:ack;;{"upstream":1}<EOF>`, []string{"R-3.1: a value is not a string, an array or an object", "R-3.7: upstream is not a string"}},
		{`auth:ack;;{"x":[["1"]]}<EOF>`, []string{"R-3.1: a value in an array or inner object is not a string", "R-3.7: upstream is missing"}},
		{`auth:ack;;{"upstream":"a\u202e"}<EOF>`, []string{"R-3.9: upstream is not printable"}},
	} {
		m := parse(tc.raw)
		var got []string
		for _, b := range append(m.broken, checkKeys(master, &m)...) {
			if m.values != nil || b.rule != "R-3.7" { // A payload that is no object has no keys to miss.
				got = append(got, b.String())
			}
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.raw, d)
		}
	}
}
