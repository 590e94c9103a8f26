package protocol

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// pieces is a net.Conn whose reads return what a reader gives.
type pieces struct {
	net.Conn
	io.Reader
}

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// readAll returns every message of a stream, each written out again, and the rule that ended it, if one did.
func readAll(r io.Reader, limit int) (messages []string, rule string) {
	in := reader{conn: pieces{Reader: r}, borrows: true}
	defer func() { in.release() }()
	for {
		switch m, err := in.next(limit); {
		case err == nil:
			messages = append(messages, string(encode(m)))
		case errors.Is(err, ErrProtocol):
			p, _ := errors.AsType[*ProtocolError](err)
			return messages, p.Rule
		default:
			return messages, ""
		}
	}
}

// encode writes m as a peer that sends what was sent would.
func encode(m *message) []byte {
	out := append([]byte(m.code.String()), separator...)
	names := map[code][fieldCount]string{
		codeEstablish: {"id", "version", "type"}, codeAuthStart: {"cert"}, codeAuthAck: {"upstream"}, codeAlive: {"status", "load"},
	}[m.code]
	open := byte('{')
	for f, v := range m.values {
		if v == nil {
			continue
		}
		out = append(out, open)
		out = appendString(out, names[f])
		out = append(out, ':')
		out = appendString(out, string(v))
		open = ','
	}
	if open == ',' {
		out = append(out, '}')
	}
	return append(out, eof...)
}

func TestAppendWritesWhatTheRulesSay(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"conn:establish", appendEstablish(nil, "a/b", "0.1.0", "refinery"), `conn:establish;;{"id":"a/b","version":"0.1.0","type":"refinery"}<EOF>`},
		{"auth:start", appendAuthStart(nil, "-----BEGIN\nx==\n"), `auth:start;;{"cert":"-----BEGIN\nx==\n"}<EOF>`},
		{"auth:ack", appendGrant([]byte("kept "), "up:1"), `kept auth:ack;;{"upstream":"up:1"}<EOF>`},
		{"conn:alive", appendReport(nil, "ok", "0.5"), `conn:alive;;{"status":"ok","load":"0.5"}<EOF>`},
		{"R-3.8 a lone semicolon stands", appendGrant(nil, ";a;"), `auth:ack;;{"upstream":";a;"}<EOF>`},
		{"R-3.8 the first of each pair is escaped", appendGrant(nil, ";;;"), `auth:ack;;{"upstream":"\u003b\u003b;"}<EOF>`},
		{"R-3.8 less-than is escaped", appendGrant(nil, "<EOF>"), `auth:ack;;{"upstream":"\u003cEOF>"}<EOF>`},
		{"control characters", appendGrant(nil, "\x00\x1f\r\t\x7f"), `auth:ack;;{"upstream":"\u0000\u001f\u000d\u0009` + "\x7f" + `"}<EOF>`},
		{"invalid UTF-8 becomes valid", appendGrant(nil, "a\xffé"), `auth:ack;;{"upstream":"a\ufffdé"}<EOF>`},
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
		var m message
		b := appendAuthStart(make([]byte, 0, 100), s)
		if strings.Count(string(b), separator) != 1 || strings.Count(string(b), eof) != 1 {
			t.Errorf("a mark stands in the payload of %.60q", b)
		}
		n, err := decode(&m, b, 0, len(b))
		if err != nil || n != len(b) || string(m.values[fieldCert]) != s {
			t.Errorf("%.60q was read as %.60q, %d, %v", s, m.values[fieldCert], n, err)
		}
	}
}

func TestBoundOfAMessage(t *testing.T) {
	const limit = 100
	for _, tc := range []struct {
		length int
		rule   string
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, ruleBound}} {
		whole := string(appendAuthStart(nil, ""))
		whole = string(appendAuthStart(nil, strings.Repeat("a", tc.length-len(whole))))
		_, rule := readAll(strings.NewReader(whole), limit)
		if rule != tc.rule {
			t.Errorf("%d bytes, whole: rule %q, want %q", tc.length, rule, tc.rule)
		}
		_, rule = readAll(iotest.OneByteReader(strings.NewReader(whole)), limit)
		if rule != tc.rule {
			t.Errorf("%d bytes, byte by byte: rule %q, want %q", tc.length, rule, tc.rule)
		}
	}
}

//
func TestAMessageThatIsTooLongIsNotWaitedFor(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`auth:start;;{"cert":"`), strings.NewReader(strings.Repeat("a", 1<<20)))
	counted := &countingReader{r: endless}
	if _, rule := readAll(counted, 4096); rule != ruleBound {
		t.Errorf("rule %q, want %q", rule, ruleBound)
	}
	if counted.n > 4096 {
		t.Errorf("%d bytes were read of a message that may have 4096", counted.n)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
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
			if _, rule := readAll(strings.NewReader("conn:alive;;"+payload+eof), 1<<16); rule != tc.rule {
				t.Errorf("%d keys in %.12s…: rule %q, want %q", tc.keys, payload, rule, tc.rule)
			}
		}
	}
}

//
func TestPacketsHoldNoMoreThanTheirSizeAndTheLastHoldsEOF(t *testing.T) {
	whole := appendAuthStart(nil, strings.Repeat("x", 100))
	for size := minPacketBytes; size <= len(whole)+1; size++ {
		w := &packetWriter{}
		if err := writePackets(w, whole, size); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(w.packets, nil); !bytes.Equal(got, whole) {
			t.Fatalf("size %d: packets hold %q", size, got)
		}
		for i, p := range w.packets {
			last := i == len(w.packets)-1
			if len(p) > size || len(p) == 0 || bytes.HasSuffix(p, []byte(eof)) != last {
				t.Fatalf("size %d: packet %d of %d is %q", size, i+1, len(w.packets), p)
			}
		}
		if want := max(1, (len(whole)+size-1)/size); len(w.packets) > want+1 {
			t.Fatalf("size %d: %d packets, %d would do", size, len(w.packets), want)
		}
	}
}

type packetWriter struct{ packets [][]byte }

func (w *packetWriter) Write(p []byte) (int, error) {
	w.packets = append(w.packets, bytes.Clone(p))
	return len(p), nil
}

func TestLoadIsADecimalFromZeroToOne(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "1": true, "0.0": true, "0.25": true, "1.0": true, "1.000": true, "0.99999999999999": true,
		"": false, "2": false, "-0": false, "1.01": false, "0.": false, "00": false, ".5": false, "0,5": false, "1e0": false,
		"0.999999999999999": false, "NaN": false,
	} {
		if got := validLoad(s); got != want {
			t.Errorf("validLoad(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestABufferIsKeptOnlyWhileAMessageNeedsIt(t *testing.T) {
	in := reader{conn: pieces{Reader: io.MultiReader(
		strings.NewReader(testEstablish), iotest.OneByteReader(strings.NewReader("conn:alive;;<EOF>")),
		strings.NewReader("conn:alive;;"+`{"status":"`+strings.Repeat("s", 200)+`"}<EOF>`+"conn:"), strings.NewReader("alive;;<EOF>"),
	)}, borrows: true}
	for i, want := range []struct{ borrowed, small bool }{{true, false}, {false, true}, {true, false}, {true, false}} {
		if _, err := in.next(4096); err != nil {
			t.Fatal(err)
		}
		in.borrows = false
		if got := in.borrowed; got != want.borrowed || (len(in.buf) == idleBytes) != want.small {
			t.Errorf("after message %d: borrowed %v with %d bytes of buffer", i+1, got, len(in.buf))
		}
	}
	in.rewind()
	if in.borrowed {
		t.Error("an idle reader keeps a borrowed buffer")
	}
}

func TestAliveAllocatesNothing(t *testing.T) {
	stream := []byte(`conn:alive;;<EOF>conn:alive;;{"status":"ok","load":"0.25"}<EOF>`)
	r := bytes.NewReader(stream)
	in := reader{conn: pieces{Reader: r}}
	if n := testing.AllocsPerRun(1000, func() {
		r.Reset(stream)
		for range 2 {
			if m, err := in.next(4096); err != nil || m.code != codeAlive {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("reading conn:alive allocates %v times", n)
	}
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(1000, func() {
		buf = appendReport(buf[:0], "ok", "0.25")
		if err := writePackets(io.Discard, aliveBytes, DefaultPacketBytes); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("writing conn:alive allocates %v times", n)
	}
}

func TestAuthStartAllocatesNothingToDecode(t *testing.T) {
	wire := appendAuthStart(nil, strings.Repeat(strings.Repeat("A", 64)+"\n", 18))
	scratch := make([]byte, len(wire))
	var m message
	if n := testing.AllocsPerRun(100, func() {
		copy(scratch, wire)
		if _, err := decode(&m, scratch, 0, len(scratch)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding auth:start allocates %v times", n)
	}
}
