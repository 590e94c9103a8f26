package conformance

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListPrintsTheNamesThatRunSelects(t *testing.T) {
	var stdout bytes.Buffer
	if code := Main(t.Context(), []string{"refinery", "--list", "--run=^R-5.5 "}, &stdout, io.Discard); code != exitPassed {
		t.Errorf("exit code %d", code)
	}
	want := "R-5.5 the master's own conn:alive is answered\nR-5.5 an answer is never answered\n"
	if d := cmp.Diff(want, stdout.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTheListAsJSONIsTheListAsText(t *testing.T) {
	for _, peer := range bothSides {
		var text, encoded bytes.Buffer
		_ = Main(t.Context(), []string{string(peer), "--list", "--transport=Plaintext"}, &text, io.Discard)
		if code := Main(t.Context(), []string{string(peer), "--list", "--transport=Plaintext", "--format=json"}, &encoded, io.Discard); code != exitPassed {
			t.Errorf("exit code %d", code)
		}
		var l Listing
		if err := json.Unmarshal(encoded.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := l.write(&again, "text"); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(text.String(), again.String()); d != "" || len(l.WithoutCase) == 0 || l.Specification != Specification {
			t.Errorf("(-text +JSON):\n%s", d)
		}
	}
}
