package late

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyWhatFailedOnALateMachineIsRunAgainAndOnlyOnce(t *testing.T) {
	type outcome struct{ failed, late []string }
	for name, test := range map[string]struct {
		first, second outcome
		want          []string
		asked         []string
	}{
		"nothing fails":         {outcome{}, outcome{}, nil, []string{""}},
		"a failure in time":     {outcome{failed: []string{"a"}}, outcome{}, []string{"a"}, []string{""}},
		"late ones":             {outcome{[]string{"a.b", "c"}, []string{"a.b", "c"}}, outcome{}, nil, []string{"", `^(a\.b|c)$`}},
		"one of them fails":     {outcome{[]string{"a.b", "c"}, []string{"a.b", "c"}}, outcome{[]string{"c"}, []string{"c"}}, []string{"c"}, []string{"", `^(a\.b|c)$`}},
		"one in time, one late": {outcome{[]string{"a", "b"}, []string{"b"}}, outcome{}, []string{"a"}, []string{"", "^(b)$"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "retried")
			t.Setenv(RetriedCases, path)
			var asked []string
			got := Again(t, func(only string) (failed, late []string) {
				o := []outcome{test.first, test.second}[len(asked)]
				asked = append(asked, only)
				return o.failed, o.late
			})
			if diff := cmp.Diff(test.asked, asked); diff != "" || strings.Join(got, ",") != strings.Join(test.want, ",") {
				t.Errorf("%q failed, want %q; runs (-want +got):\n%s", got, test.want, diff)
			}
			recorded, err := os.ReadFile(path)
			if retried := len(asked) > 1; retried != (err == nil) {
				t.Fatal(err)
			}
			for _, name := range test.first.late {
				if !strings.Contains(string(recorded), t.Name()+": ") || !strings.Contains(string(recorded), `"`+name+`"`) {
					t.Errorf("recorded: %s", recorded)
				}
			}
		})
	}
}
