package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// duplex is a connection in memory whose directions close apart.
type duplex struct {
	net.Conn
	out    net.Conn
	closed context.CancelFunc
}

// newDuplex also returns a channel that is closed when the kit's end is.
func newDuplex() (kit, own net.Conn, gone <-chan struct{}) {
	kitIn, ownOut := net.Pipe()
	ownIn, kitOut := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	return duplex{kitIn, kitOut, cancel}, duplex{ownIn, ownOut, func() {}}, ctx.Done()
}

func (d duplex) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d duplex) CloseWrite() error           { return d.out.Close() }

func (d duplex) Close() error {
	d.closed()
	return errors.Join(d.Conn.Close(), d.out.Close())
}

func (d duplex) SetWriteDeadline(at time.Time) error { return d.out.SetWriteDeadline(at) }

func (d duplex) SetDeadline(at time.Time) error {
	return errors.Join(d.SetReadDeadline(at), d.SetWriteDeadline(at))
}

// mutation is what a fake peer does wrong; the zero value is right in everything.
type mutation struct {
	// Of its reader.
	ignores     *regexp.Regexp // faults (broken.String) that it does not notice
	tolerates   string         // "<state> <code>" that it skips instead of closing
	anyCase     bool           // codes in any letters
	trims       bool           // white space around the code
	lateCode    bool           // judges the code only with <EOF>
	wholeReads  bool           // takes each read for one message
	forgetful   bool           // drops what a read holds beyond a message, in a session
	ignoresTurn bool           // does not look for bytes ahead of their turn
	ignoresEnd  bool           // does not notice the end of the stream
	noLiteral   bool
	noBare      bool
	strictKeys  bool // unknown keys are violations
	fewKeys     bool // 31 are its most
	longer      map[string]int

	// Of its conduct.
	text      map[string]string // a code's message instead of the right one
	answersBy map[string]string // a code read: what is sent before it is handled
	says      string            // what is sent at a violation of
	noTimer   string            // "alive" or "handshake"
	lastWord  bool              // conn:close when the alive timeout ends it
	byteAlive bool              // any byte counts as a sign of life
	perRead   bool              // the handshake timeout starts anew with each read
	hasty     bool              // master: closes at once after auth:dec; refinery: after auth:dec, without conn:close
	retries   bool              // master: takes another auth:start after auth:dec
	mute      bool              // master: closes for a refused version, without conn:close
	plain     bool              // conn:alive with a payload is not answered
	picky     bool              // master: closes for a load that is none
	deaf      bool              // refinery: does not answer the master's conn:alive
	chatty    bool              // refinery: answers answers
	stubborn  bool              // refinery: does not acknowledge a new upstream
	pace      float64           // refinery: interval of its heartbeats, in intervals; 0: 1, negative: none
	vanishes  bool              // refinery: does not come back
	murmurs   bool              // refinery: sends conn:alive behind its conn:close
	abrupt    bool              // closes the socket at once after conn:close
	endless   bool              // discards without end after conn:close
	keepsOpen bool              // does not close its direction after conn:close
	impatient string            // state in which it does not wait for its turn
	splits    bool              // each ;; separates
	nested    bool              // <EOF> within a string does not end a message
	lingers   bool              // handles what came with a violation before it closes
	fromStart bool              // counts the alive timeout from the beginning of the session
	staysOpen bool              // no write timeout
	alerts    bool              // master: answers TLS with an alert where none is spoken
	again     bool              // master: takes conn:establish behind conn:close; refinery: goes on where its last session was
	content   bool              // refinery: takes an upstream that it cannot use

	// Of places (masters).
	places   int  // connections that are not authenticated, at most, beyond the right number
	late     bool // refuses only when something has come
	curious  bool // answers what comes over a connection that there is no place for
	oneByOne bool // serves one connection that is not authenticated after the other

	// Of TLS.
	tls       func(*tls.Config)
	unbounded bool // takes TLS flights of any length
	narrow    bool // takes TLS flights of 4 KiB at most
	alsoPlain bool // master: speaks without TLS too
	oneRecord bool // looks for bytes ahead of their turn in the same record alone
	slowTLS   bool // does not count TLS into the handshake timeout
	trusting  bool // master: lets in whatever certificate is said
}

var (
	errViolation = errors.New("violation")
	errTooLong   = errors.New("too long")
)

// fakePeer is the side of one connection that both fakes share.
type fakePeer struct {
	mutation
	side    side // who it is
	conn    net.Conn
	gone    <-chan struct{} // closed when the kit has closed everything
	state   string
	buf     []byte
	read    time.Time // when the last byte came
	tried   bool      // it has been impatient
	closed  bool      // it was sent conn:close
	resumes bool      // it begins where its last session was
	leave   func()    // gives back its place
	began   time.Time // of the session
	writes  time.Duration
}

// hangsUp closes behind what is written.
type hangsUp struct{ net.Conn }

func (h hangsUp) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	return n, errors.Join(err, h.Close())
}

func (f *fakePeer) send(code, payload string) {
	m := compose(code, payload)
	if other, ok := f.text[code]; ok {
		m = other
	}
	if m == "" {
		return
	}
	if f.state == "Authenticated" && !f.staysOpen {
		_ = f.conn.SetWriteDeadline(time.Now().Add(f.writes))
	}
	if _, err := f.conn.Write([]byte(m)); errors.Is(err, os.ErrDeadlineExceeded) {
		_ = f.conn.Close()
	} // Any other kit that has closed is read as ended.
}

// farewell sends conn:close and does as says.
func (f *fakePeer) farewell() {
	f.send(closing, "")
	if f.murmurs {
		f.send(alive, "")
	}
	if f.abrupt {
		return
	}
	if c, ok := f.conn.(interface{ CloseWrite() error }); ok && !f.keepsOpen {
		_ = c.CloseWrite()
	}
	until := time.Now().Add(time.Second)
	if f.endless {
		until = until.Add(time.Hour)
	}
	_ = f.conn.SetReadDeadline(until)
	_, _ = io.Copy(io.Discard, f.conn)
}

// next reads a message that breaks no rule.
func (f *fakePeer) next(limit int, deadline func() time.Time) (*message, error) {
	for {
		if f.badCode() {
			return nil, errViolation
		}
		raw, rest, ok := f.cut()
		if len(raw) > limit || (!ok && len(f.buf) >= limit) {
			return nil, errTooLong
		}
		if ok {
			f.buf = slices.Clone(rest)
			if f.forgetful && f.state == "Authenticated" {
				f.buf = nil
			}
			return f.parse(raw)
		}
		if err := f.fill(deadline); err != nil {
			return nil, err
		}
		if f.wholeReads && !bytes.Contains(f.buf, []byte(eof)) {
			return nil, errViolation
		}
	}
}

// cut takes a message off, as far as the mutation knows where it ends.
func (f *fakePeer) cut() (raw string, rest []byte, ok bool) {
	raw, rest, ok = cut(f.buf)
	for within := regexp.MustCompile(`[^"}]<EOF>$`); f.nested && ok && within.MatchString(raw) && strings.Count(raw, `"`)%2 == 1; {
		var more string
		if more, rest, ok = cut(rest); ok {
			raw += more
		}
	}
	return raw, rest, ok
}

func (f *fakePeer) fill(deadline func() time.Time) error {
	b := make([]byte, 128<<10)
	due := deadline()
	if f.impatient == f.state && !f.tried {
		due = time.Now().Add(quietTime / 3)
	}
	_ = f.conn.SetReadDeadline(due)
	n, err := f.conn.Read(b)
	if f.impatient == f.state && !f.tried && errors.Is(err, os.ErrDeadlineExceeded) {
		f.tried = true
		f.send(map[string]string{"New": startAuth, "Authenticating": authAck, "Acknowledging": alive,
			"Establishing": authStart, "Verifying": authAck}[f.state], "")
		return nil
	}
	f.buf = append(f.buf, b[:n]...)
	if n > 0 {
		f.read = time.Now()
		return nil
	}
	if errors.Is(err, io.EOF) && f.ignoresEnd {
		<-f.gone
	}
	return err
}

func (f *fakePeer) badCode() bool {
	head := string(f.buf[:min(len(f.buf), len(establish+separator))])
	if f.trims {
		head = strings.TrimSpace(string(f.buf))
	}
	if f.anyCase {
		head = strings.ToLower(head)
	}
	for _, c := range codes {
		if f.anyCase {
			c = strings.ToLower(c)
		}
		if strings.HasPrefix(head, c+separator) || (f.trims && strings.HasPrefix(head, c+" ")) {
			return false
		}
	}
	whole := bytes.Contains(f.buf, []byte(eof))
	return whole || (len(f.buf) >= len(establish+separator) && !f.lateCode)
}

func (f *fakePeer) parse(raw string) (*message, error) {
	code, payload, _ := strings.Cut(strings.TrimSuffix(raw, eof), separator)
	for _, c := range codes {
		if (f.anyCase && strings.EqualFold(c, code)) || (f.trims && c == strings.TrimSpace(code)) {
			code = c
		}
	}
	m := parse(compose(code, f.unwrap(payload)))
	if f.nested && strings.Contains(payload, eof) {
		m = parse(compose(code, strings.ReplaceAll(payload, eof, "")))
	}
	from := master
	if f.side == master {
		from = refinery
	}
	faults := slices.Concat(m.broken, checkKeys(from, &m))
	if !f.splits || !strings.Contains(payload, separator) {
		faults = slices.DeleteFunc(faults, func(b broken) bool { return b.rule == "R-3.8" }) // A rule for writers.
	}
	if f.fewKeys && len(m.values) >= maxKeys {
		faults = append(faults, broken{"R-3.3", "too many"})
	}
	if f.strictKeys {
		known := 0
		for _, field := range fields[from][code] {
			if _, there := m.values[field.key]; there {
				known++
			}
		}
		if known < len(m.values) {
			faults = append(faults, broken{"R-3.6", "unknown key"})
		}
	}
	for _, b := range faults {
		if f.ignores == nil || !f.ignores.MatchString(b.String()) {
			return nil, errViolation
		}
	}
	return &m, nil
}

// unwrap makes JSON of the literal form.
func (f *fakePeer) unwrap(payload string) string {
	rest, ok := strings.CutPrefix(payload, `"{`)
	if !ok || rest == "" || f.noLiteral {
		return payload
	}
	if bare := !strings.ContainsAny(rest[:1], "\" \t\r\n}"); bare {
		if f.noBare {
			return payload
		}
		rest = `"` + rest
	}
	if strings.HasSuffix(rest, `}"`) || strings.HasSuffix(rest, `}""`) {
		rest = rest[:len(rest)-1]
	}
	return "{" + rest
}

// take reads the next message that the state expects; conn:close is always one.
func (f *fakePeer) take(limit int, deadline func() time.Time, expected ...string) (*message, error) {
	for {
		m, err := f.next(limit, deadline)
		if f.lingers && f.state == "Authenticated" && errors.Is(err, errViolation) {
			if _, f.buf, _ = cut(f.buf); len(f.buf) > 0 {
				m, err = f.next(limit, deadline)
				f.conn = hangsUp{f.conn}
			}
		}
		if errors.Is(err, errTooLong) && f.says != "" {
			_, _ = f.conn.Write([]byte(f.says))
		}
		if err != nil {
			return nil, err
		}
		if answer := f.answersBy[m.code]; answer != "" {
			_, _ = f.conn.Write([]byte(answer))
		}
		if slices.Contains(expected, m.code) {
			return m, nil
		}
		if f.tolerates == f.state+" "+m.code {
			continue
		}
		f.closed = m.code == closing
		if f.side == master && f.again && f.closed && len(f.buf) > 0 {
			expected = []string{establish}
			continue
		}
		return nil, errViolation // Or conn:close: closed either way.
	}
}

// ahead reports whether bytes came before their turn.
func (f *fakePeer) ahead() bool {
	if secure, ok := f.conn.(*tls.Conn); ok && len(f.buf) == 0 && !f.oneRecord {
		_ = secure.SetReadDeadline(time.Unix(1, 0)) // TLS still returns a record that it holds.
		b := make([]byte, 1024)
		n, _ := secure.Read(b)
		f.buf = b[:n]
	}
	return len(f.buf) > 0 && !f.ignoresTurn
}

func (f *fakePeer) handshakeDeadline(timeout time.Duration) func() time.Time {
	begun := time.Now()
	return func() time.Time {
		switch {
		case f.noTimer == "handshake":
			return time.Time{}
		case f.perRead:
			return time.Now().Add(timeout)
		}
		return begun.Add(timeout)
	}
}

// aliveDeadline counts from the last message, at seen.
func (f *fakePeer) aliveDeadline(timeout time.Duration, seen *time.Time) time.Time {
	switch {
	case f.noTimer == "alive":
		return time.Now().Add(time.Hour)
	case f.fromStart:
		return f.began.Add(timeout)
	case f.byteAlive && f.read.After(*seen):
		return f.read.Add(timeout)
	}
	return seen.Add(timeout)
}

// limit is the bound with what the mutation adds to it.
func (f *fakePeer) limit(of string, bytes int) int { return bytes + f.longer[of] }
