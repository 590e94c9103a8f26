package attack

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// attackerConfig is one kind of attack: so many attackers, each of which attacks again and again, with a pause, until it
// is told to stop.
type attackerConfig struct {
	Identity identity
	Address  string
	Kind     string
	Workers  int
	Sources  int // addresses that they come from
	Pause    time.Duration
	// For is how long it attacks at least: until it has done what the test is about, on a slow machine for longer.
	For time.Duration
}

// attackerReport says what was done: how many connections were opened, and how many bytes written to them.
type attackerReport struct{ Opened, Bytes int64 }

// attacker attacks until it is told to stop.
type attacker struct {
	node
	number int
	report *attackerReport
}

// attacks are the kinds: each is one attack of one attacker, which ends when the master closes or the attack is over.
var attacks = map[string]func(ctx context.Context, a *attacker){
	"silent":              silent,
	"dribble":             dribbleHello,
	"dribble over TLS":    dribbleEstablish,
	"dribble in session":  dribbleAlive,
	"never read":          neverRead,
	"reset":               resetSomewhere,
	"garbage":             garbage,
	"anonymous":           anonymous,
	"endless":             endlessFirst,
	"endless establish":   func(ctx context.Context, a *attacker) { endless(ctx, a, 0) },
	"endless certificate": func(ctx context.Context, a *attacker) { endless(ctx, a, 1) },
	"stall certificate":   stallCertificate,
	"endless in session":  func(ctx context.Context, a *attacker) { endless(ctx, a, 3) },
	"panic establish":     func(ctx context.Context, a *attacker) { panicking(ctx, a, "establish") },
	"panic authenticate":  func(ctx context.Context, a *attacker) { panicking(ctx, a, "authenticate") },
	"panic authenticated": func(ctx context.Context, a *attacker) { panicking(ctx, a, "authenticated") },
	"panic closed":        func(ctx context.Context, a *attacker) { panicking(ctx, a, "closed") },
}

// runAttacker attacks until its orders end or one of them is "stop", and answers each with what was done so far.
func runAttacker(config attackerConfig, orders <-chan string, answer func(any)) error {
	attack := attacks[config.Kind]
	if attack == nil {
		return fmt.Errorf("no such attack: %q", config.Kind)
	}
	answer("attacking")
	ctx, cancel := context.WithCancel(context.Background())
	var report attackerReport
	tlsConfig := config.Identity.client()
	var attackers sync.WaitGroup
	for i := range config.Workers {
		attackers.Go(func() {
			from := i % config.Sources
			source := net.IPv4(127, 0, byte(10+from/250), byte(1+from%250))
			n := node{config.Address, source, tlsConfig, config.Identity.Certificate}
			// They begin spread over a second, or over the pause.
			rest(ctx, max(time.Second, config.Pause)*time.Duration(i)/time.Duration(config.Workers))
			for ctx.Err() == nil {
				attack(ctx, &attacker{n, i, &report})
				rest(ctx, config.Pause)
			}
		})
	}
	for order := range orders {
		if order == "stop" {
			cancel()
			attackers.Wait()
		}
		answer(attackerReport{atomic.LoadInt64(&report.Opened), atomic.LoadInt64(&report.Bytes)})
	}
	cancel()
	attackers.Wait()
	return nil
}

// rest waits, or until the attack is over.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// open dials; nil when the attack is over or the master has no room even for that.
func (a *attacker) open(ctx context.Context) *net.TCPConn {
	conn, err := a.dial(ctx)
	if err != nil {
		return nil
	}
	atomic.AddInt64(&a.report.Opened, 1)
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn
}

// outlast reads until the master closes or the attack is over.
func outlast(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func (a *attacker) write(conn net.Conn, b []byte) bool {
	n, err := conn.Write(b)
	atomic.AddInt64(&a.report.Bytes, int64(n))
	return err == nil
}

// silent says nothing.
func silent(ctx context.Context, a *attacker) {
	if conn := a.open(ctx); conn != nil {
		defer conn.Close()
		outlast(conn)
	}
}

// dribble writes a byte each second.
func (a *attacker) dribble(ctx context.Context, conn net.Conn, b []byte) {
	for _, c := range b {
		if ctx.Err() != nil || !a.write(conn, []byte{c}) {
			return
		}
		rest(ctx, time.Second)
	}
	outlast(conn)
}

// dribbleHello does so with what looks like the beginning of TLS.
func dribbleHello(ctx context.Context, a *attacker) {
	if conn := a.open(ctx); conn != nil {
		defer conn.Close()
		a.dribble(ctx, conn, append([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, make([]byte, 200)...))
	}
}

// establish opens a connection with TLS.
func (a *attacker) establish(ctx context.Context) *tls.Conn {
	conn, err := a.secure(ctx)
	if err != nil {
		return nil
	}
	atomic.AddInt64(&a.report.Opened, 1)
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn
}

// dribbleEstablish does so over TLS.
func dribbleEstablish(ctx context.Context, a *attacker) {
	if conn := a.establish(ctx); conn != nil {
		defer conn.Close()
		a.dribble(ctx, conn, []byte(a.messages()[0]))
	}
}

// messages are what a node sends to get in.
func (a *attacker) messages() []string {
	return []string{
		fmt.Sprintf(`conn:establish;;{"id":"bad/%d","version":"0.1.0","type":"refinery"}<EOF>`, a.number),
		`auth:start;;{"cert":"x"}<EOF>`, `auth:ack;;<EOF>`,
	}
}

// enter takes the first steps of getting in: 0 none, 1 conn:establish, 2 auth:start, 3 auth:ack.
func (a *attacker) enter(conn *tls.Conn, steps int) bool {
	answer := make([]byte, 4096)
	for i, m := range a.messages()[:steps] {
		if !a.write(conn, []byte(m)) {
			return false
		}
		if i < 2 {
			if _, err := conn.Read(answer); err != nil {
				return false
			}
		}
	}
	return true
}

// dribbleAlive does so in a session.
func dribbleAlive(ctx context.Context, a *attacker) {
	if conn := a.establish(ctx); conn != nil {
		defer conn.Close()
		if a.enter(conn, 3) {
			a.dribble(ctx, conn, []byte(strings.Repeat(aliveMessage, 10)))
		}
	}
}

// neverRead gets in and sends heartbeats as fast as it can, and reads no answer.
func neverRead(ctx context.Context, a *attacker) {
	conn := a.establish(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	if tcp, ok := conn.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096)
	}
	if a.enter(conn, 3) {
		for many := []byte(strings.Repeat(aliveMessage, 50)); a.write(conn, many); {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// resetSomewhere resets the connection after so many steps: nothing, half a hello, a whole hello, TLS, and each message.
func resetSomewhere(ctx context.Context, a *attacker) {
	for step := range 7 {
		conn := a.open(ctx)
		if conn == nil {
			return
		}
		a.walk(ctx, conn, step)
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

func (a *attacker) walk(ctx context.Context, conn *net.TCPConn, step int) {
	switch step {
	case 0:
	case 1:
		a.write(conn, []byte{22, 3, 1, 1, 0, 1, 0})
	case 2:
		cut := &afterHello{TCPConn: conn}
		_ = tls.Client(cut, a.config).HandshakeContext(ctx)
	default:
		secured := tls.Client(conn, a.config)
		if secured.HandshakeContext(ctx) == nil {
			a.enter(secured, step-3)
		}
	}
}

// afterHello lets TLS say its hello, and hear nothing.
type afterHello struct{ *net.TCPConn }

func (c *afterHello) Read([]byte) (int, error) { return 0, io.EOF }

// Close leaves the closing, which is to be a reset, to the attacker.
func (c *afterHello) Close() error { return nil }

// garbage speaks something else, or nothing that anyone speaks.
func garbage(ctx context.Context, a *attacker) {
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	for _, b := range [][]byte{
		noise, append([]byte{22, 3, 1, 15, 0}, noise...), append([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, noise...),
		[]byte("GET / HTTP/1.1\r\nHost: master\r\n\r\n"), []byte(a.messages()[0]), make([]byte, 4096),
	} {
		conn := a.open(ctx)
		if conn == nil {
			return
		}
		a.write(conn, b)
		if ctx.Err() == nil {
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
		}
		_ = conn.Close()
	}
}

// anonymous goes through as much of TLS as the master does for someone who has no certificate.
func anonymous(ctx context.Context, a *attacker) {
	conn := a.open(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	config := a.config.Clone()
	config.Certificates = nil
	secured := tls.Client(conn, config)
	if secured.HandshakeContext(ctx) == nil {
		_, _ = secured.Read(make([]byte, 1)) // The alert.
	}
}

const endlessBytes = 16 << 20

// endlessFirst sends 16 MiB that are no TLS.
func endlessFirst(ctx context.Context, a *attacker) {
	if conn := a.open(ctx); conn != nil {
		defer conn.Close()
		a.pour(ctx, conn, "\x16\x03\x01\x40\x00")
	}
}

// endless sends 16 MiB of a message without its end.
func endless(ctx context.Context, a *attacker, steps int) {
	conn := a.establish(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	begin := map[int]string{0: `conn:establish;;{"id":"`, 1: `auth:start;;{"cert":"`, 3: `conn:alive;;{"status":"`}[steps]
	if a.enter(conn, steps) {
		a.pour(ctx, conn, begin)
	}
}

// stallCertificate sends as much of auth:start as the master takes, but one byte, and waits.
func stallCertificate(ctx context.Context, a *attacker) {
	conn := a.establish(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	begin := `auth:start;;{"cert":"`
	if a.enter(conn, 1) && a.write(conn, []byte(begin+strings.Repeat("x", protocol.DefaultAuthStartBytes-1-len(begin)))) {
		outlast(conn)
	}
}

func (a *attacker) pour(ctx context.Context, conn net.Conn, begin string) {
	chunk := []byte(strings.Repeat("x", 16<<10))
	if !a.write(conn, []byte(begin)) {
		return
	}
	for n := 0; n < endlessBytes && ctx.Err() == nil && a.write(conn, chunk); n += len(chunk) {
		continue
	}
}

// panicking has the master's program panic.
func panicking(ctx context.Context, a *attacker, step string) {
	conn, client, err := a.join(ctx, "panic/"+step)
	if conn != nil {
		atomic.AddInt64(&a.report.Opened, 1)
		defer conn.Close()
	}
	if err == nil {
		_ = client.Close()
	}
}
