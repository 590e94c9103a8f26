package conformance

import (
	"bytes"
	"context"
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
}

var (
	errViolation = errors.New("violation")
	errTooLong   = errors.New("too long")
)

// fakePeer is the side of one connection that both fakes share.
type fakePeer struct {
	mutation
	side  side // who it is
	conn  net.Conn
	gone  <-chan struct{} // closed when the kit has closed everything
	state string
	buf   []byte
	read  time.Time // when the last byte came
}

func (f *fakePeer) send(code, payload string) {
	m := compose(code, payload)
	if other, ok := f.text[code]; ok {
		m = other
	}
	if m != "" {
		_, _ = f.conn.Write([]byte(m)) // A kit that has closed is read as ended.
	}
}

// next reads a message that breaks no rule.
func (f *fakePeer) next(limit int, deadline func() time.Time) (*message, error) {
	for {
		if f.badCode() {
			return nil, errViolation
		}
		raw, rest, ok := cut(f.buf)
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

func (f *fakePeer) fill(deadline func() time.Time) error {
	b := make([]byte, 128<<10)
	_ = f.conn.SetReadDeadline(deadline())
	n, err := f.conn.Read(b)
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
	from := master
	if f.side == master {
		from = refinery
	}
	faults := slices.Concat(m.broken, checkKeys(from, &m))
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
		return nil, errViolation // Or conn:close: closed either way.
	}
}

// ahead tells whether bytes came before their turn.
func (f *fakePeer) ahead() bool { return len(f.buf) > 0 && !f.ignoresTurn }

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
	case f.byteAlive && f.read.After(*seen):
		return f.read.Add(timeout)
	}
	return seen.Add(timeout)
}

// limit is the bound with what the mutation adds to it.
func (f *fakePeer) limit(of string, bytes int) int { return bytes + f.longer[of] }

// fakeMaster serves one connection.
func fakeMaster(o *Options, m mutation, conn net.Conn, gone <-chan struct{}) {
	defer conn.Close()
	f := &fakePeer{mutation: m, side: master, conn: conn, gone: gone, state: "New"}
	deadline := f.handshakeDeadline(o.HandshakeTimeout)
	hello, err := f.take(f.limit(establish, o.EstablishBytes), deadline, establish)
	if err != nil {
		return
	}
	if hello.text("version") == o.RefusedVersion {
		if !f.mute {
			f.send(closing, "")
		}
		return
	}
	if f.ahead() {
		return
	}
	f.state = "Authenticating"
	f.send(startAuth, "")
	proof, err := f.take(f.limit(authStart, o.AuthStartBytes), deadline, authStart)
	if err != nil || f.ahead() {
		return
	}
	if proof.text("cert") == o.deniedCertificate {
		f.state = "Denied"
		f.send(authDec, "")
		if f.retries {
			if _, err := f.take(o.AuthStartBytes, deadline, authStart); err == nil {
				f.send(authAck, object(upstreamMembers))
			}
			return
		}
		if !f.hasty {
			_, _ = f.take(o.SessionBytes, deadline)
		}
		return
	}
	f.state = "Acknowledging"
	f.send(authAck, object(upstreamMembers))
	if _, err := f.take(f.limit(alive, o.SessionBytes), deadline, authAck); err == nil {
		f.state = "Authenticated"
		f.serve(o)
	}
}

// serve is the master's session.
func (f *fakePeer) serve(o *Options) {
	seen := time.Now()
	for {
		m, err := f.take(f.limit(alive, o.SessionBytes), func() time.Time { return f.aliveDeadline(o.AliveTimeout, &seen) }, alive)
		if errors.Is(err, os.ErrDeadlineExceeded) && f.lastWord {
			f.send(closing, "")
		}
		if err != nil || (f.picky && (m.text("load") == "37%" || m.text("load") == "1.5")) {
			return
		}
		seen = time.Now()
		if !f.plain || len(m.values) == 0 {
			f.send(alive, "")
		}
	}
}

// fakeRefinery connects again and again until ctx ends.
func fakeRefinery(ctx context.Context, o *Options, m mutation, connections chan<- net.Conn) {
	for {
		kit, own, gone := newDuplex()
		select {
		case connections <- kit:
		case <-ctx.Done():
			return
		}
		f := &fakePeer{mutation: m, side: refinery, conn: own, gone: gone, state: "Establishing"}
		f.refine(o)
		_ = own.Close()
		if m.vanishes {
			return
		}
	}
}

func (f *fakePeer) refine(o *Options) {
	deadline := f.handshakeDeadline(o.HandshakeTimeout)
	limit := f.limit(authAck, o.MaxMessageBytes)
	f.send(establish, `{"id":"a","version":"0.1.0","type":"refinery"}`)
	if _, err := f.take(limit, deadline, startAuth); err != nil || f.ahead() {
		return
	}
	f.state = "Verifying"
	f.send(authStart, `{"cert":"a"}`)
	m, err := f.take(limit, deadline, authAck, authDec)
	if err != nil {
		return
	}
	if m.code == authDec {
		f.leave()
		return
	}
	if f.ahead() {
		return
	}
	f.state = "Authenticated"
	f.send(authAck, "")
	f.stay(o, limit)
}

// leave is what follows auth:dec.
func (f *fakePeer) leave() {
	if f.hasty {
		return
	}
	f.send(closing, "")
	if f.murmurs {
		f.send(alive, "")
	}
}

// stay is the refinery's session.
func (f *fakePeer) stay(o *Options, limit int) {
	pace := f.pace
	if pace == 0 {
		pace = 1
	}
	if pace < 0 {
		pace = 1e6
	}
	pause := time.Duration(pace * float64(o.AliveInterval))
	seen, beat, unanswered := time.Now(), time.Now().Add(pause), 0
	for {
		silence := f.aliveDeadline(o.AliveTimeout, &seen)
		m, err := f.take(limit, func() time.Time {
			if beat.Before(silence) {
				return beat
			}
			return silence
		}, alive, authAck)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(silence):
			f.send(alive, "")
			unanswered++
			beat = beat.Add(pause)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && f.lastWord:
			f.send(closing, "")
			return
		case err != nil:
			return
		}
		seen = time.Now()
		f.reply(m, &unanswered)
	}
}

func (f *fakePeer) reply(m *message, unanswered *int) {
	switch {
	case m.code == authAck && !f.stubborn:
		f.send(authAck, "")
	case m.code == authAck:
	case *unanswered > 0 && !f.chatty:
		*unanswered--
	case !f.deaf:
		f.send(alive, "")
	}
}
