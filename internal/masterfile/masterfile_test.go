package masterfile

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := rapid.Int64Range(0, 1<<30)
		want := Settings{Address: rapid.String().Draw(t, "address"), AliveInterval: time.Duration(second.Draw(t, "interval")) * time.Second, AliveTimeout: time.Duration(second.Draw(t, "timeout")) * time.Second}
		got, err := Parse([]byte(want.Encode()))
		if err != nil || got != want {
			t.Fatalf("read %+v, %v; written %+v", got, err, want)
		}
	})
}

func TestFieldsOfALaterReleaseAreIgnored(t *testing.T) {
	got, err := Parse([]byte(`{"address":"alpha:1","aliveIntervalSeconds":1,"aliveTimeoutSeconds":3,"new":{"a":[1]}}`))
	if want := (Settings{Address: "alpha:1", AliveInterval: time.Second, AliveTimeout: 3 * time.Second}); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestWhatCannotBeReadSaysWhy(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "is not as the operator writes it: unexpected end of JSON input",
		"address: alpha":                         "is not as the operator writes it: invalid character",
		`{"aliveTimeoutSeconds":"35s"}`:          "is not as the operator writes it: json: cannot unmarshal string",
		`{"aliveIntervalSeconds":1e300}`:         "is not as the operator writes it: json: cannot unmarshal number",
		`{"aliveTimeoutSeconds":99999999999999}`: "has a time of more than 9223372036 seconds",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
