package protocol

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Every bound: one below it, at it, and one above it.

// padded returns a message of exactly length bytes, made so by a key that is ignored.
func padded(message string, length int) string {
	head := strings.TrimSuffix(message, "}"+wire.EOF)
	if head == message { // It has no payload.
		head = strings.TrimSuffix(message, wire.EOF) + `{"x":"`
	} else {
		head += `,"x":"`
	}
	return head + strings.Repeat("x", length-len(head)-len(`"}`+wire.EOF)) + `"}` + wire.EOF
}

// aroundLimits calls f with a limit that is not the default, and with the default, and a length around each.
func aroundLimits(t *testing.T, byDefault int, f func(t *testing.T, limit, length int)) {
	t.Helper()
	for _, limit := range []int{300, byDefault} {
		for _, over := range []int{-1, 0, 1} {
			t.Run(fmt.Sprintf("%d of %d", limit+over, limit), func(t *testing.T) { f(t, limit, limit+over) })
		}
	}
}

// each state has its own bound. At the bound and one below it a message is taken, one above it is not.
func TestEachBoundOfTheMaster(t *testing.T) {
	establish, authenticate := [2]string{testEstablish, "conn:startAuth;;<EOF>"}, [2]string{testAuthStart, testGrant}
	for _, tc := range []struct {
		name   string
		option func(*ServerOptions) *int
		before [][2]string // what is said and heard before
		say    string
		hear   string
	}{
		{
			"EstablishBytes", func(o *ServerOptions) *int { return &o.EstablishBytes }, nil,
			testEstablish, "conn:startAuth;;<EOF>",
		},
		{
			"AuthStartBytes", func(o *ServerOptions) *int { return &o.AuthStartBytes }, [][2]string{establish},
			testAuthStart, testGrant,
		},
		{
			"SessionBytes", func(o *ServerOptions) *int { return &o.SessionBytes },
			[][2]string{establish, authenticate, {"auth:ack;;<EOF>", ""}}, "conn:alive;;<EOF>", "conn:alive;;<EOF>",
		},
		{
			"SessionBytes for auth:ack", func(o *ServerOptions) *int { return &o.SessionBytes },
			[][2]string{establish, authenticate}, "auth:ack;;<EOF>", "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := DefaultServerOptions()
			aroundLimits(t, *tc.option(&o), func(t *testing.T, limit, length int) {
				o := DefaultServerOptions()
				*tc.option(&o) = limit
				ended := make(chan error, 1)
				o.OnRefused = func(_ net.Addr, reason error) { ended <- reason }
				h := newRecorder()
				l := listen(t)
				serve(t, l, h, o)
				c := dial(t, l)
				for _, turn := range tc.before {
					say(t, c, turn[0])
					hear(t, c, turn[1])
				}
				say(t, c, padded(tc.say, length))
				if length <= limit {
					hear(t, c, tc.hear)
					say(t, c, "conn:close;;<EOF>")
				}
				if rest, _ := io.ReadAll(c); len(rest) > 0 {
					t.Errorf("read %q", rest)
				}
				if tc.name != "EstablishBytes" || length <= limit {
					ended = h.causes
				}
				expectBound(t, <-ended, length > limit)
			})
		})
	}
}

//
func TestTheBoundOfTheRefinery(t *testing.T) {
	aroundLimits(t, DefaultMaxMessageBytes, func(t *testing.T, limit, length int) {
		synctest.Test(t, func(t *testing.T) {
			_, master, ended := client(t, func(o *ClientOptions) { o.MaxMessageBytes = limit })
			// The end of what is too long is not read.
			if _, err := master.Write([]byte(padded(`auth:ack;;{"upstream":"up:2"}<EOF>`, length))); err != nil && length <= limit {
				t.Fatal(err)
			}
			if length <= limit {
				hear(t, master, "auth:ack;;<EOF>")
				_ = master.Close()
			}
			expectBound(t, <-ended, length > limit)
		})
	})
}

func expectBound(t *testing.T, err error, broken bool) {
	t.Helper()
	p, violated := errors.AsType[*ProtocolError](err)
	if violated != broken || (broken && p.Rule != "R-2.5") {
		t.Errorf("ended with %v", err)
	}
}

//
func TestBoundsOfWhatANodeAnnounces(t *testing.T) {
	values := func(long string, n int, value string) (id, version, typ string) {
		id, version, typ = "a", "1", "t"
		*map[string]*string{"id": &id, "version": &version, "type": &typ}[long] = strings.Repeat(value, n/len(value)) + strings.Repeat("a", n%len(value))
		return id, version, typ
	}
	for key, limit := range map[string]int{"id": 253, "version": 64, "type": 64} {
		for _, length := range []int{0, 1, limit - 1, limit, limit + 1} {
			for _, value := range []string{"a", "é"} { // Bytes are counted, not characters.
				id, version, typ := values(key, length, value)
				var m wire.Message
				if _, err := wire.Decode(&m, wire.AppendEstablish(nil, id, version, typ), 0, DefaultEstablishBytes); err != nil {
					t.Fatal(err)
				}
				p, refused := errors.AsType[*wire.Violation](m.CheckEstablish())
				if want := length == 0 || length > limit; refused != want || (refused && p.Rule != "R-3.9") {
					t.Errorf("the master reads %s of %d bytes: %v", key, length, p)
				}
				o := DefaultClientOptions()
				o.ID, o.Version, o.Type = id, version, typ
				if err := o.Validate(); (err != nil) != refused {
					t.Errorf("the refinery is to announce %s of %d bytes: %v", key, length, err)
				}
			}
		}
	}
}

//
func TestBoundsOfUpstreamStatusAndLoad(t *testing.T) {
	for _, tc := range []struct {
		name  string
		limit int
		fill  string
		valid func(string) bool
	}{
		{"upstream", 1024, "u", wire.ValidUpstream[string]},
		{"status", 256, "s", wire.ValidStatus[string]},
		{"load", 16, "0.", wire.ValidLoad[string]},
	} {
		for _, length := range []int{tc.limit - 1, tc.limit, tc.limit + 1} {
			value := tc.fill + strings.Repeat(tc.fill[:1], length-len(tc.fill))
			if got := tc.valid(value); got != (length <= tc.limit) {
				t.Errorf("%s of %d bytes is valid: %v", tc.name, length, got)
			}
		}
	}
}

// the bounds hold in a session, too: on what a program sends, on what a refinery takes, on what is kept.
func TestBoundsOfValuesInASession(t *testing.T) {
	for _, over := range []int{-1, 0, 1} {
		upstream, status := strings.Repeat("u", 1024+over), strings.Repeat("s", 256+over)
		synctest.Test(t, func(t *testing.T) {
			h, _, c := session(t, DefaultServerOptions())
			s := h.last.Load()
			if err := s.SetUpstream(upstream); errors.Is(err, ErrInvalidUpstream) != (over > 0) {
				t.Errorf("SetUpstream with %d bytes returned %v", len(upstream), err)
			}
			if over <= 0 {
				hear(t, c, string(wire.AppendGrant(nil, upstream)))
				say(t, c, "auth:ack;;<EOF>")
			}
			say(t, c, string(wire.AppendReport(nil, status, "0.5")))
			hear(t, c, "conn:alive;;<EOF>")
			if kept, load := s.Load(); (kept == status) != (over <= 0) || load != "0.5" {
				t.Errorf("of a status of %d bytes %d are kept, and load %q", len(status), len(kept), load)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			_, master, ended := client(t, nil)
			say(t, master, string(wire.AppendGrant(nil, upstream)))
			if over <= 0 {
				hear(t, master, "auth:ack;;<EOF>")
				_ = master.Close()
			}
			p, refused := errors.AsType[*ProtocolError](<-ended)
			if refused != (over > 0) || (refused && p.Rule != "R-3.9") {
				t.Errorf("an upstream of %d bytes: %v", len(upstream), p)
			}
		})
	}
}

func TestBoundsOfTheOptions(t *testing.T) {
	o, c := DefaultServerOptions(), DefaultClientOptions()
	c.ID, c.Version, c.Type = "a", "1", "t"
	for _, tc := range []struct {
		name        string
		option      *int
		least, most int
	}{
		{"MaxSessions", &o.MaxSessions, 1, 1 << 30},
		{"MaxHandshakes", &o.MaxHandshakes, 1, 1 << 30},
		{"MaxSlowHandshakes", &o.MaxSlowHandshakes, 0, 1 << 30},
		{"MaxWaiting", &o.MaxWaiting, 1, 1 << 30},
		{"MaxHandshakesPerSource", &o.MaxHandshakesPerSource, 1, 1 << 30},
		{"SocketBytes", &o.SocketBytes, 0, 1 << 30},
		{"PacketBytes", &o.PacketBytes, 16, 1 << 20},
		{"TLSFlightBytes", &o.TLSFlightBytes, 2 << 10, 16 << 20},
		{"EstablishBytes", &o.EstablishBytes, 64, 16 << 20},
		{"AuthStartBytes", &o.AuthStartBytes, 64, 16 << 20},
		{"SessionBytes", &o.SessionBytes, 64, 16 << 20},
		{"PacketBytes", &c.PacketBytes, 16, 1 << 20},
		{"MaxMessageBytes", &c.MaxMessageBytes, 64, 16 << 20},
	} {
		before := *tc.option
		for value, works := range map[int]bool{
			tc.least - 1: false, tc.least: true, tc.least + 1: true, tc.most - 1: true, tc.most: true, tc.most + 1: false,
		} {
			*tc.option = value
			err := errors.Join(o.Validate(), c.Validate())
			if (err == nil) != works || (err != nil && !strings.Contains(err.Error(), fmt.Sprint(tc.name, " is ", value))) {
				t.Errorf("%s %d: %v", tc.name, value, err)
			}
		}
		*tc.option = before
	}
}
