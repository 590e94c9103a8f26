package proxied

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// version2 is a header with a command and a family, and what follows its length.
func version2(command, family byte, rest string) string {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(rest))) //nolint:gosec // short
	return string(proxyproto.SIGV2) + string([]byte{0x20 | command, family}) + string(length) + rest
}

const (
	from4 = "\xc0\x00\x02\x07\xc0\x00\x02\x01\x00\x07\x86\x04" // 192.0.2.7:7 to 192.0.2.1:34308
	from6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x07\x86\x04"
)

// headers are whole headers, with the address that they give, "own" for none, or "" for those that are refused.
var headers = map[string]struct{ header, want string }{
	"version 1, IPv4":               {"PROXY TCP4 192.0.2.7 192.0.2.1 7 34308\r\n", "192.0.2.7:7"},
	"version 1, IPv6":               {"PROXY TCP6 2001:db8::7 2001:db8::1 7 34308\r\n", "[2001:db8::7]:7"},
	"version 1, unknown":            {"PROXY UNKNOWN\r\n", "own"},
	"version 1, wrong family":       {"PROXY TCP4 2001:db8::7 2001:db8::1 7 34308\r\n", ""},
	"version 1, no address":         {"PROXY TCP4 node 192.0.2.1 7 34308\r\n", ""},
	"version 1, nobody's address":   {"PROXY TCP4 0.0.0.0 192.0.2.1 7 34308\r\n", ""},
	"version 1, too long":           {"PROXY TCP4 " + strings.Repeat("1", 100) + "\r\n", ""},
	"version 2, IPv4":               {version2(1, 0x11, from4), "192.0.2.7:7"},
	"version 2, IPv6":               {version2(1, 0x21, from6), "[2001:db8::7]:7"},
	"version 2, IPv4 and more":      {version2(1, 0x11, from4+"\x04\x00\x01\x00"), "192.0.2.7:7"},
	"version 2, the balancer's own": {version2(0, 0x00, ""), "own"},
	"version 2, UDP":                {version2(1, 0x12, from4), ""},
	"version 2, too short":          {version2(1, 0x11, from4[:8]), ""},
	"version 2, too long":           {version2(1, 0x11, strings.Repeat("\x00", maxVersion2)), ""},
	"none":                          {`conn:establish;;{"id":"a","version":"0.1.0","type":"refinery"}<EOF>`, ""},
	"TLS":                           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64), ""},
}

func listen(t *testing.T, networks ...string) (l *Listener, refused chan error) {
	t.Helper()
	inner, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var trusted []netip.Prefix
	for _, network := range networks {
		trusted = append(trusted, netip.MustParsePrefix(network))
	}
	refused = make(chan error, 2*maxPending)
	l = Listen(inner, Options{Trusted: func() []netip.Prefix { return trusted }, Refused: func(_ net.Addr, err error) { refused <- err }})
	t.Cleanup(func() { _ = l.Close() })
	l.begin() // as a server that accepts for good
	return l, refused
}

func dial(t *testing.T, l *Listener, says string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, says); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAConnectionIsOfTheAddressThatItsHeaderGives(t *testing.T) {
	for name, row := range headers {
		t.Run(name, func(t *testing.T) {
			l, refused := listen(t, "127.0.0.0/8")
			c := dial(t, l, row.header+"behind it")
			if row.want == "" {
				if err := <-refused; !errors.Is(err, ErrRefused) {
					t.Error(err)
				}
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
					t.Error("it is answered")
				}
				return
			}
			got, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			want := strings.ReplaceAll(row.want, "own", c.LocalAddr().String())
			if got.RemoteAddr().String() != want {
				t.Errorf("of %v, want %s", got.RemoteAddr(), want)
			}
			rest := make([]byte, len("behind it"))
			if _, err := io.ReadFull(got, rest); err != nil || string(rest) != "behind it" {
				t.Errorf("behind the header is %q, %v", rest, err)
			}
		})
	}
}

func TestWhoIsNotListedIsClosedAtOnce(t *testing.T) {
	for name, networks := range map[string][]string{"nobody is": nil, "others are": {"192.0.2.0/24", "::1/128"}} {
		t.Run(name, func(t *testing.T) {
			l, refused := listen(t, networks...)
			c := dial(t, l, "")
			if err := <-refused; !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "trustedNetworks does not list") {
				t.Error(err)
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("it is answered")
			}
		})
	}
}

func TestConnectionsWithoutAHeaderKeepNobodyOut(t *testing.T) {
	l, refused := listen(t, "127.0.0.0/8")
	for range maxPending {
		dial(t, l, "")
	}
	dial(t, l, headers["version 1, IPv4"].header)
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Close()
	if err := <-refused; !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

func TestWhoOnlyLooksWhetherThePortIsOpenIsToldApart(t *testing.T) {
	l, refused := listen(t, "127.0.0.0/8")
	_ = dial(t, l, "").Close()
	if err := <-refused; !errors.Is(err, protocol.ErrPeerClosed) {
		t.Error(err)
	}
}

func TestAListenerThatIsClosedLetsGoOfAll(t *testing.T) {
	l, _ := listen(t, "127.0.0.0/8")
	c := dial(t, l, "PROXY")
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it is answered")
	}
}

// FuzzHeader reads any bytes: no panic, never more than the bound, and an address only where the header ends whole.
//
//fuzz:floor 500/s
func FuzzHeader(f *testing.F) {
	for _, row := range headers {
		f.Add([]byte(row.header))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		source, err := readHeader(r)
		read := len(raw) - r.Len()
		if read > maxVersion2 {
			t.Fatalf("it reads %d bytes", read)
		}
		if err != nil && source.IsValid() {
			t.Fatalf("%v beside %v", source, err)
		}
		if err != nil {
			return
		}
		again, err := readHeader(bytes.NewReader(raw[:read]))
		if err != nil || again != source {
			t.Fatalf("what was read alone gives %v, %v; want %v", again, err, source)
		}
		if a := source.Addr(); source.IsValid() && (a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6()) {
			t.Fatalf("nobody connects from %v", a)
		}
	})
}

func TestWhoComesBeforeTheServerDoesIsNotPending(t *testing.T) {
	inner, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	everyone := func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	l := Listen(inner, Options{Trusted: everyone, Refused: func(_ net.Addr, err error) { t.Error(err) }})
	defer l.Close()
	c := dial(t, l, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 34310\r\n")
	defer c.Close()
	l.mu.Lock()
	if n := l.pending.Len(); n != 0 {
		t.Errorf("%d are pending", n)
	}
	l.mu.Unlock()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got := accepted.RemoteAddr().String(); got != "192.0.2.7:4711" {
		t.Error(got)
	}
}
