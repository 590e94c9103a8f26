package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppendWritesWhatTheRulesSay(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"conn:establish", AppendEstablish(nil, "a/b", "0.1.0", "refinery"), `conn:establish;;{"id":"a/b","version":"0.1.0","type":"refinery"}<EOF>`},
		{"auth:start", AppendAuthStart(nil, "-----BEGIN\nx==\n"), `auth:start;;{"cert":"-----BEGIN\nx==\n"}<EOF>`},
		{"auth:ack", AppendGrant([]byte("kept "), "up:1"), `kept auth:ack;;{"upstream":"up:1"}<EOF>`},
		{"conn:alive", AppendReport(nil, "ok", "0.5"), `conn:alive;;{"status":"ok","load":"0.5"}<EOF>`},
		{"R-3.4 the literal form", AppendLiteralGrant(nil, ";;<"), `auth:ack;;"{upstream":"\u003b;\u003c"}<EOF>`},
		{"R-3.8 a lone semicolon stands", AppendGrant(nil, ";a;"), `auth:ack;;{"upstream":";a;"}<EOF>`},
		{"R-3.8 the first of each pair is escaped", AppendGrant(nil, ";;;"), `auth:ack;;{"upstream":"\u003b\u003b;"}<EOF>`},
		{"R-3.8 less-than is escaped", AppendGrant(nil, "<EOF>"), `auth:ack;;{"upstream":"\u003cEOF>"}<EOF>`},
		{"control characters", AppendGrant(nil, "\x00\x1f\r\t\x7f"), `auth:ack;;{"upstream":"\u0000\u001f\u000d\u0009` + "\x7f" + `"}<EOF>`},
		{"invalid UTF-8 becomes valid", AppendGrant(nil, "a\xffé"), `auth:ack;;{"upstream":"a\ufffdé"}<EOF>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, string(tc.got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestStringsSurviveWritingAndReading(t *testing.T) {
	for _, s := range []string{
		"", "a", `"`, `\`, `\"`, "\n", "\x00", "<EOF>", ";;", ";;;;", "<", `\u003c`, "é😀", strings.Repeat("a;;<EOF>\n", 5000),
	} {
		var m Message
		b := AppendAuthStart(make([]byte, 0, 100), s)
		if strings.Count(string(b), Separator) != 1 || strings.Count(string(b), EOF) != 1 {
			t.Errorf("a mark stands in the payload of %.60q", b)
		}
		n, err := Decode(&m, b, 0, len(b))
		if err != nil || n != len(b) || string(m.Values[FieldCert]) != s {
			t.Errorf("%.60q was read as %.60q, %d, %v", s, m.Values[FieldCert], n, err)
		}
	}
}

func TestKeysOfAnObjectAreBounded(t *testing.T) {
	for _, tc := range []struct {
		keys int
		rule string
	}{{maxMembers - 1, ""}, {maxMembers, ""}, {maxMembers + 1, ruleDuplicate}} {
		members := make([]string, tc.keys)
		for i := range members {
			members[i] = `"` + strings.Repeat("k", i+1) + `":""`
		}
		object := "{" + strings.Join(members, ",") + "}"
		for _, payload := range []string{object, `{"inner":` + object + `}`} {
			if _, rule := readAll(strings.NewReader("conn:alive;;"+payload+EOF), 1<<16); rule != tc.rule {
				t.Errorf("%d keys in %.12s…: rule %q, want %q", tc.keys, payload, rule, tc.rule)
			}
		}
	}
}

func TestLoadIsADecimalFromZeroToOne(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "1": true, "0.0": true, "0.25": true, "1.0": true, "1.000": true, "0.99999999999999": true,
		"": true, "2": false, "-1": false, "Inf": false, "1e309": false, "-0": false, "1.01": false, "0.": false, "00": false, ".5": false, "0,5": false, "1e0": false,
		"0.999999999999999": false, "NaN": false,
	} {
		if got := ValidLoad(s); got != want {
			t.Errorf("validLoad(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestAuthStartAllocatesNothingToDecode(t *testing.T) {
	wire := AppendAuthStart(nil, strings.Repeat(strings.Repeat("A", 64)+"\n", 18))
	scratch := make([]byte, len(wire))
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		copy(scratch, wire)
		if _, err := Decode(&m, scratch, 0, len(scratch)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding auth:start allocates %v times", n)
	}
}
