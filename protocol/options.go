package protocol

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
	"unicode/utf8"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Defaults of every bound and timer.
const (
	DefaultHandshakeTimeout       = 10 * time.Second
	DefaultAliveInterval          = 10 * time.Second
	DefaultAliveTimeout           = 35 * time.Second
	DefaultWriteTimeout           = 5 * time.Second
	DefaultDrainWindow            = 10 * time.Second
	DefaultHandshakeTurn          = 250 * time.Millisecond
	DefaultMaxSessions            = 20000
	DefaultMaxHandshakes          = 64
	DefaultMaxSlowHandshakes      = 1024
	DefaultMaxWaiting             = 8192
	DefaultMaxHandshakesPerSource = 32
	DefaultSocketBytes            = 32 << 10
	DefaultPacketBytes            = 16 << 10
	DefaultTLSFlightBytes         = 8 << 10
	DefaultEstablishBytes         = 4 << 10
	DefaultAuthStartBytes         = 64 << 10
	DefaultSessionBytes           = 4 << 10
	DefaultMaxMessageBytes        = 64 << 10
)

// Least and greatest values of the options.
const (
	minPacketBytes  = 16
	maxPacketBytes  = 1 << 20
	minMessageBytes = 64
	maxMessageBytes = 16 << 20
	// minTLSFlightBytes is what the hello of a client needs, and a small certificate.
	minTLSFlightBytes = 2 << 10
)

// ServerOptions are the bounds and timers of a Server. Start from DefaultServerOptions: zero is not a default.
type ServerOptions struct {
	// TLSConfig is used for every connection; nil means plaintext. Certificates that change while the server runs go
	// into its GetConfigForClient or GetCertificate.
	TLSConfig *tls.Config
	// Plaintext takes connections without TLS too where TLSConfig is set, for a time in which a fleet changes from one to the
	// other. The first byte of a connection tells them apart.
	Plaintext bool

	// LiteralPayloads has upstreams written in the literal form, for refineries that read nothing else.
	LiteralPayloads bool

	// HandshakeTimeout bounds everything from accepting a connection to the refinery's auth:ack: waiting for a turn,
	// TLS, the protocol's handshake and the Handler's decisions. It is absolute, not per read.
	HandshakeTimeout time.Duration
	// HandshakeTurn is how long a handshake counts against MaxHandshakes while other connections wait. After it the handshake
	// goes on as one of MaxSlowHandshakes, so that a peer that stalls keeps nobody waiting. A handshake that waits for a slow
	// server gets another turn. While the server is quick and its peers are far away, turns last a fifth of this. At
	// most an eighth of HandshakeTimeout is used.
	HandshakeTurn time.Duration
	// AliveInterval is how often refineries are expected to send conn:alive. The server only checks that
	// AliveTimeout is longer.
	AliveInterval time.Duration
	// AliveTimeout is how long a refinery may be silent, and how long it may take to acknowledge a new upstream.
	AliveTimeout time.Duration
	// Patience is how long a refinery may be silent that does not know of AliveTimeout yet: its last two heartbeats were further
	// apart than three quarters of that, or it has sent none. It counts where it is longer than AliveTimeout.
	Patience time.Duration
	// WriteTimeout bounds one write to an authenticated refinery.
	WriteTimeout time.Duration
	// DrainWindow is the time over which Shutdown spreads the conn:close of many sessions, so that a fleet does not come back
	// in one instant; 0 sends them all at once.
	DrainWindow time.Duration

	// MaxSessions bounds the open connections, including those that wait or are handshaking. To allow a number of authenticated
	// sessions at all times, add MaxWaiting, MaxHandshakes and MaxSlowHandshakes to it.
	MaxSessions int
	// MaxHandshakes bounds the handshakes that have a turn. Further connections wait, and nothing is read from them: so in a
	// storm the handshakes that have begun are finished. The next turn goes to the source with the fewest handshakes in flight.
	MaxHandshakes int
	// MaxSlowHandshakes bounds the handshakes that go on after their turn. When there are that many, turns do not end any
	// more, unless a source with several handshakes in flight makes room for one with fewer.
	MaxSlowHandshakes int
	// MaxWaiting bounds the connections that wait for their turn. They cost little beyond what the system buffers for them
	// (SocketBytes), so a whole fleet that comes back at once should fit. One connection more is closed at once, unless a
	// source with several makes room for one with fewer; one that has waited for half of HandshakeTimeout is closed
	// too. The refinery then knows that it must come back later.
	MaxWaiting int
	// MaxHandshakesPerSource bounds, for each IP address, the connections that wait for a turn or are handshaking. One more takes the
	// place of the oldest of them from which nothing has come, if there is such a one.
	MaxHandshakesPerSource int

	// SocketBytes bounds what the operating system buffers of one TCP connection in each direction, so that a peer that sends
	// and does not read is noticed soon and costs little. 0 leaves it to the system, which may buffer megabytes. Serve sets
	// it on its listener, whose connections inherit it. Linux doubles it, for its own bookkeeping.
	SocketBytes int
	// PacketBytes is the most that one write, and with TLS one record, holds of a message.
	PacketBytes int
	// TLSFlightBytes bounds each flight of a client's TLS handshake: its hello, and its certificates with the proof that
	// it holds the key. TLS parses all that it reads, up to 256 KiB, before anything of it is proven.
	TLSFlightBytes int
	// EstablishBytes, AuthStartBytes and SessionBytes bound a message, <EOF> included, until conn:establish is read, for
	// auth:start, and after it.
	EstablishBytes, AuthStartBytes, SessionBytes int

	// Hold, if set, is called before a message is handled, and may block: a server that must make sure of something first,
	// for example that no other has taken its place, answers nothing meanwhile. Timers go on. Several goroutines call it at the
	// same time.
	Hold func()
	// OnRefused, if set, is called for every connection that ended before Handler.Establish was called for it: limits, TLS
	// failures, violations, timeouts, port scans and health checks. remote is nil for an Accept that failed and is tried
	// again. It must not block.
	OnRefused func(remote net.Addr, reason error)
	// OnPanic, if set, is called for every panic of the Handler and of the hooks. s is the session that it ended, or nil. Set
	// or not, the panic is the cause given to Handler.Closed. Without OnPanic, a panic of Handler.Closed itself or of OnRefused
	// goes to the log package; a panic of OnPanic always does.
	OnPanic func(s *Session, err *PanicError)
	// OnReport, if set, is called when a conn:alive has changed what Session.Load returns, or has a value that is ignored
	// and before it is answered. It is called as the Handler is, and must not block.
	OnReport func(s *Session, r Report)
	// OnMessage, if set, is called for every message that was read or written whole, for tracing and metrics. It is called
	// before the message is checked, so s has no ID yet when conn:establish is read. It must not block. Several goroutines
	// may call it at the same time, even for one session.
	OnMessage func(s *Session, m TracedMessage)
}

// TracedMessage describes a message to an OnMessage hook, without its payload.
type TracedMessage struct {
	Sent  bool   // by this side; else received
	Code  string // as "conn:alive"
	Bytes int    // its length on the wire, below TLS, <EOF> included
}

// DefaultServerOptions returns plaintext with the default bounds and timers.
func DefaultServerOptions() ServerOptions {
	return ServerOptions{
		HandshakeTimeout:       DefaultHandshakeTimeout,
		AliveInterval:          DefaultAliveInterval,
		AliveTimeout:           DefaultAliveTimeout,
		WriteTimeout:           DefaultWriteTimeout,
		DrainWindow:            DefaultDrainWindow,
		HandshakeTurn:          DefaultHandshakeTurn,
		MaxSessions:            DefaultMaxSessions,
		MaxHandshakes:          DefaultMaxHandshakes,
		MaxSlowHandshakes:      DefaultMaxSlowHandshakes,
		MaxWaiting:             DefaultMaxWaiting,
		MaxHandshakesPerSource: DefaultMaxHandshakesPerSource,
		SocketBytes:            DefaultSocketBytes,
		PacketBytes:            DefaultPacketBytes,
		TLSFlightBytes:         DefaultTLSFlightBytes,
		EstablishBytes:         DefaultEstablishBytes,
		AuthStartBytes:         DefaultAuthStartBytes,
		SessionBytes:           DefaultSessionBytes,
	}
}

// Validate returns every option that cannot work, joined into one error.
func (o ServerOptions) Validate() error {
	var errs []error
	if c := o.TLSConfig; c != nil && len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		errs = append(errs, errors.New("TLSConfig has no certificate: set Certificates, GetCertificate or GetConfigForClient"))
	}
	if o.DrainWindow != 0 {
		errs = append(errs, timer("DrainWindow", o.DrainWindow))
	}
	if o.Patience != 0 {
		errs = append(errs, timer("Patience", o.Patience))
	}
	return errors.Join(append(errs,
		timers(o.HandshakeTimeout, o.AliveInterval, o.AliveTimeout, o.WriteTimeout),
		timer("HandshakeTurn", o.HandshakeTurn),
		between("MaxSessions", o.MaxSessions, 1, 1<<30),
		between("MaxHandshakes", o.MaxHandshakes, 1, 1<<30),
		between("MaxSlowHandshakes", o.MaxSlowHandshakes, 0, 1<<30),
		between("MaxWaiting", o.MaxWaiting, 1, 1<<30),
		between("MaxHandshakesPerSource", o.MaxHandshakesPerSource, 1, 1<<30),
		between("SocketBytes", o.SocketBytes, 0, 1<<30),
		between("PacketBytes", o.PacketBytes, minPacketBytes, maxPacketBytes),
		between("TLSFlightBytes", o.TLSFlightBytes, minTLSFlightBytes, maxMessageBytes),
		between("EstablishBytes", o.EstablishBytes, minMessageBytes, maxMessageBytes),
		between("AuthStartBytes", o.AuthStartBytes, minMessageBytes, maxMessageBytes),
		between("SessionBytes", o.SessionBytes, minMessageBytes, maxMessageBytes),
	)...)
}

// ClientOptions are what a refinery announces, its bounds and its timers. Start from DefaultClientOptions.
type ClientOptions struct {
	// ID, Version and Type are announced in conn:establish: 1 to 253, 64 and 64 bytes of printable UTF-8.
	ID, Version, Type string
	// Certificate is what auth:start sends: the PEM of the certificate that TLS shows, or the shared certificate.
	Certificate string

	// HandshakeTimeout bounds Handshake, the master's decisions included.
	HandshakeTimeout time.Duration
	// AliveInterval is the time between two conn:alive, with a jitter of 10 % either way.
	AliveInterval time.Duration
	// AliveTimeout is how long the master may be silent.
	AliveTimeout time.Duration
	// WriteTimeout bounds one write.
	WriteTimeout time.Duration

	// PacketBytes is the most that one write holds of a message.
	PacketBytes int
	// MaxMessageBytes bounds a message of the master, <EOF> included.
	MaxMessageBytes int

	// OnUpstream, if set, is called with every upstream granted, including the first, before it is acknowledged. If it returns
	// an error, the upstream is not acknowledged: the session ends, and Handshake or Run returns the error.
	OnUpstream func(upstream string) error
	// Load, if set, is called before each conn:alive. It returns the status (at most 256 printable bytes; empty or ok: the node
	// is well) and the load (a decimal number from 0 to 1; empty: not known) to report. If ok is false or a value is not valid,
	// conn:alive reports nothing, and what was reported before stands.
	Load func() (status, load string, ok bool)
	// OnLate, if set, is called when the answer to a conn:alive is late by LateAfter, on a goroutine of its own. The session goes
	// on: it ends when the master was silent for AliveTimeout. Meanwhile the program can look for another master.
	OnLate    func()
	LateAfter time.Duration
	// OnMessage, if set, is called for every message that was read or written whole, for tracing and metrics. It must not
	// block. Several goroutines may call it at the same time.
	OnMessage func(m TracedMessage)
}

// DefaultClientOptions returns the default bounds and timers; ID, Version, Type and Certificate remain to be set.
func DefaultClientOptions() ClientOptions {
	return ClientOptions{
		HandshakeTimeout: DefaultHandshakeTimeout,
		AliveInterval:    DefaultAliveInterval,
		AliveTimeout:     DefaultAliveTimeout,
		WriteTimeout:     DefaultWriteTimeout,
		PacketBytes:      DefaultPacketBytes,
		MaxMessageBytes:  DefaultMaxMessageBytes,
	}
}

// Validate returns every option that cannot work, joined into one error. It never quotes the certificate.
func (o ClientOptions) Validate() error {
	errs := []error{
		announced("ID", o.ID, wire.MaxIDBytes),
		announced("Version", o.Version, wire.MaxVersionBytes),
		announced("Type", o.Type, wire.MaxTypeBytes),
	}
	if o.OnLate != nil {
		errs = append(errs, timer("LateAfter", o.LateAfter))
	}
	if !utf8.ValidString(o.Certificate) {
		errs = append(errs, errors.New("the Certificate is not valid UTF-8: it must be PEM, not DER"))
	}
	return errors.Join(append(errs,
		timers(o.HandshakeTimeout, o.AliveInterval, o.AliveTimeout, o.WriteTimeout),
		between("PacketBytes", o.PacketBytes, minPacketBytes, maxPacketBytes),
		between("MaxMessageBytes", o.MaxMessageBytes, minMessageBytes, maxMessageBytes),
	)...)
}

// longestTimer bounds every timer, so that sums of some of them and a point in time do not overflow.
const longestTimer = 365 * 24 * time.Hour

func timer(name string, value time.Duration) error {
	switch {
	case value <= 0:
		return fmt.Errorf("%s is %v: it must be more than 0 (start from the default options)", name, value)
	case value > longestTimer:
		return fmt.Errorf("%s is %v: it must be at most a year, %v", name, value, longestTimer)
	}
	return nil
}

func timers(handshake, interval, timeout, write time.Duration) error {
	errs := []error{
		timer("HandshakeTimeout", handshake), timer("AliveInterval", interval), timer("AliveTimeout", timeout), timer("WriteTimeout", write),
	}
	if longest := interval + jitter(interval); errors.Join(errs...) == nil && timeout <= longest {
		errs = append(errs, fmt.Errorf("AliveTimeout is %v: it must be more than AliveInterval with its jitter, %v", timeout, longest))
	}
	return errors.Join(errs...)
}

// jitter returns by how much an interval may be shorter or longer.
func jitter(interval time.Duration) time.Duration { return interval / 10 }

func between(name string, value, least, most int) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %d: it must be between %d and %d", name, value, least, most)
	}
	return nil
}

func announced(name, value string, most int) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is required", name)
	case len(value) > most:
		return fmt.Errorf("%s has %d bytes: at most %d are allowed", name, len(value), most)
	case !wire.Printable(value):
		return fmt.Errorf("%s %q is not printable UTF-8", name, value)
	}
	return nil
}
