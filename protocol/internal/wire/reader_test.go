package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pieces is a net.Conn whose reads return what a reader gives.
type pieces struct {
	net.Conn
	io.Reader
}

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// readAll returns every message of a stream, each written out again, and the rule that ended it, if one did.
func readAll(r io.Reader, limit int) (messages []string, rule string) {
	in := Reader{Conn: pieces{Reader: r}, Borrows: true}
	defer func() { in.Release() }()
	for {
		m, err := in.Next(limit)
		if err != nil {
			if v, ok := errors.AsType[*Violation](err); ok {
				rule = v.Rule
			}
			return messages, rule
		}
		messages = append(messages, string(encode(m)))
	}
}

// encode writes m as a peer that sends what was sent would.
func encode(m *Message) []byte {
	out := append([]byte(m.Code.String()), Separator...)
	names := map[Code][fieldCount]string{
		CodeEstablish: {"id", "version", "type"}, CodeAuthStart: {"cert"}, CodeAuthAck: {"upstream"}, CodeAlive: {"status", "load"},
	}[m.Code]
	open := byte('{')
	for f, v := range m.Values {
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
	return append(out, EOF...)
}

func TestBoundOfAMessage(t *testing.T) {
	const limit = 100
	for _, tc := range []struct {
		length int
		rule   string
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, ruleBound}} {
		whole := string(AppendAuthStart(nil, ""))
		whole = string(AppendAuthStart(nil, strings.Repeat("a", tc.length-len(whole))))
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

//
func TestPacketsHoldNoMoreThanTheirSizeAndTheLastHoldsEOF(t *testing.T) {
	whole := AppendAuthStart(nil, strings.Repeat("x", 100))
	for size := 16; size <= len(whole)+1; size++ {
		w := &packetWriter{}
		if err := WritePackets(w, whole, size); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(w.packets, nil); !bytes.Equal(got, whole) {
			t.Fatalf("size %d: packets hold %q", size, got)
		}
		for i, p := range w.packets {
			last := i == len(w.packets)-1
			if len(p) > size || len(p) == 0 || bytes.HasSuffix(p, []byte(EOF)) != last {
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

func TestABufferIsKeptOnlyWhileAMessageNeedsIt(t *testing.T) {
	in := Reader{Conn: pieces{Reader: io.MultiReader(
		strings.NewReader(`conn:establish;;{"id":"a","version":"0.1.0","type":"refinery"}<EOF>`), iotest.OneByteReader(strings.NewReader("conn:alive;;<EOF>")),
		strings.NewReader("conn:alive;;"+`{"status":"`+strings.Repeat("s", 200)+`"}<EOF>`+"conn:"), strings.NewReader("alive;;<EOF>"),
	)}, Borrows: true}
	for i, want := range []struct{ borrowed, small bool }{{true, false}, {false, true}, {true, false}, {true, false}} {
		if _, err := in.Next(4096); err != nil {
			t.Fatal(err)
		}
		in.Borrows = false
		if got := in.borrowed; got != want.borrowed || (len(in.buf) == IdleBytes) != want.small {
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
	in := Reader{Conn: pieces{Reader: r}}
	if n := testing.AllocsPerRun(1000, func() {
		r.Reset(stream)
		for range 2 {
			if m, err := in.Next(4096); err != nil || m.Code != CodeAlive {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("reading conn:alive allocates %v times", n)
	}
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(1000, func() {
		buf = AppendReport(buf[:0], "ok", "0.25")
		if err := WritePackets(io.Discard, Alive, 16<<10); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("writing conn:alive allocates %v times", n)
	}
}

// a message that never ends takes no more memory than its bound, however it comes.
func TestAReaderHoldsNoMoreThanTheBound(t *testing.T) {
	for _, limit := range []int{300, borrowedBytes, borrowedBytes + 1, 20000, 64 << 10, 100 << 10} {
		for _, piece := range []int{1, 1000, 1 << 20} {
			endless := strings.NewReader(`auth:start;;{"cert":"` + strings.Repeat("x", limit))
			here, there := net.Pipe()
			go func() {
				for b := make([]byte, piece); ; {
					n, _ := endless.Read(b)
					if _, err := there.Write(b[:n]); err != nil || n == 0 {
						return
					}
				}
			}()
			in := Reader{Conn: here, Borrows: true}
			_, err := in.Next(limit)
			if p, ok := errors.AsType[*Violation](err); !ok || p.Rule != ruleBound {
				t.Errorf("limit %d, pieces of %d: %v", limit, piece, err)
			}
			if held := len(in.buf); held > max(limit, borrowedBytes) || int(in.to) < min(limit, held) {
				t.Errorf("limit %d, pieces of %d: a buffer of %d bytes holds %d", limit, piece, held, in.to)
			}
			_ = here.Close()
		}
	}
}

// what cannot begin a message is noticed with its sixteenth byte, or when no code has it as its beginning.
func TestWhatIsNoCodeIsNoticedWithTheSixteenthByte(t *testing.T) {
	for _, over := range []int{-1, 0, 1} {
		var m Message
		if _, err := Decode(&m, []byte(strings.Repeat("a", 16+over)), 0, 4<<10); (err != nil) != (over >= 0) {
			t.Errorf("%d bytes without a separator: %v", 16+over, err)
		}
	}
}
