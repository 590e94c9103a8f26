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

// What the options may be at least and at most.
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

	// HandshakeTimeout bounds everything from accepting a connection to the refinery's auth:ack: waiting for a turn,
	// TLS, the protocol's handshake and the Handler's decisions. It is absolute, not per read.
	HandshakeTimeout time.Duration
	// HandshakeTurn is for how long a handshake in flight counts against MaxHandshakes. After it the handshake goes on, but
	// keeps nobody waiting: peers that stall cost one of the MaxSlowHandshakes, and no turn. A handshake that is slow because
	// the server is has another turn; one that is slow although the server is quick, as its peer is far away, has a fifth of it
	// . It is an eighth of HandshakeTimeout at most.
	HandshakeTurn time.Duration
	// AliveInterval is how often refineries are expected to send conn:alive. The refinery drives; the server uses it to
	// check that AliveTimeout is longer.
	AliveInterval time.Duration
	// AliveTimeout is how long a refinery may be silent, and how long it may take to acknowledge a new upstream.
	AliveTimeout time.Duration
	// WriteTimeout bounds one write to an authenticated refinery.
	WriteTimeout time.Duration
	// DrainWindow is over how long Shutdown spreads the conn:close of many sessions, so that a fleet does not come back in
	// one instant; 0 is at once.
	DrainWindow time.Duration

	// MaxSessions bounds the connections open at a time, those waiting and handshaking included: for so many that are
	// authenticated, add MaxWaiting, MaxHandshakes and MaxSlowHandshakes.
	MaxSessions int
	// MaxHandshakes bounds the handshakes that have their turn. More connections wait before anything is read from them,
	// so that a storm finishes the handshakes that it began. The source with the fewest handshakes in flight is next.
	MaxHandshakes int
	// MaxSlowHandshakes bounds the handshakes that go on after their turn. When there are as many, turns end no more; but a
	// source that has several handshakes in flight makes room for another that has fewer.
	MaxSlowHandshakes int
	// MaxWaiting bounds the connections that wait for their turn. They cost little, unless what they send is left to the
	// system to hold (SocketBytes): a fleet that comes back in one moment should fit. One more is closed at once, so that its
	// refinery knows it must come back later; so is one that has waited for half of HandshakeTimeout. But a source
	// that has several makes room for another that has fewer.
	MaxWaiting int
	// MaxHandshakesPerSource bounds, for each IP address, the connections that wait for a turn or are handshaking.
	MaxHandshakesPerSource int

	// SocketBytes bounds what the operating system holds of one TCP connection in each direction, so that a peer that
	// sends and does not read is noticed soon, and costs little; 0 leaves it to the system, which may hold megabytes. Serve
	// sets it on its listener, whose connections inherit it. Linux takes twice as much, for its own books.
	SocketBytes int
	// PacketBytes is the most that one write, and with TLS one record, holds of a message.
	PacketBytes int
	// TLSFlightBytes bounds each flight of a client's TLS handshake: its hello, and its certificates with the proof that
	// it holds the key. TLS parses all that it reads, up to 256 KiB, before anything of it is proven.
	TLSFlightBytes int
	// EstablishBytes, AuthStartBytes and SessionBytes bound a message, <EOF> included, until conn:establish is read, for
	// auth:start, and after it.
	EstablishBytes, AuthStartBytes, SessionBytes int

	// OnRefused, if set, is told of every connection that ended before Handler.Establish was called for it: limits, TLS
	// failures, violations, timeouts, peers that only looked whether the port is open. remote is nil for an Accept that
	// failed and is tried again. It must not block.
	OnRefused func(remote net.Addr, reason error)
	// OnPanic, if set, is told of every panic of the Handler and of the hooks, whose session it ended. s is nil where there
	// is none. Without it a panic is the cause given to Handler.Closed, and one of Handler.Closed itself or of OnRefused
	// goes to the log package; so does one of OnPanic.
	OnPanic func(s *Session, err *PanicError)
	// OnMessage, if set, is told of every message that was read or written whole, for tracing and metrics; before the
	// message is checked, so that s has no ID yet when conn:establish is read. It must not block, and may be called from
	// several goroutines, for one session too.
	OnMessage func(s *Session, m TracedMessage)
}

// TracedMessage is what an OnMessage hook is told of a message: nothing of its payload.
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
	// AliveInterval is the time between two conn:alive, give or take ten in a hundred.
	AliveInterval time.Duration
	// AliveTimeout is how long the master may be silent.
	AliveTimeout time.Duration
	// WriteTimeout bounds one write.
	WriteTimeout time.Duration

	// PacketBytes is the most that one write holds of a message.
	PacketBytes int
	// MaxMessageBytes bounds a message of the master, <EOF> included.
	MaxMessageBytes int

	// OnUpstream, if set, is called with every upstream granted, the first included, before it is acknowledged. An error
	// is not acknowledged but ends the session, and is what Handshake or Run returns.
	OnUpstream func(upstream string) error
	// Load, if set, is asked before each conn:alive for the status (at most 256 printable bytes) and the load (a decimal
	// number from 0 to 1) to report; with ok false, or with values that are neither, conn:alive carries none.
	Load func() (status, load string, ok bool)
	// OnMessage, if set, is told of every message that was read or written whole, for tracing and metrics. It must not
	// block, and may be called from several goroutines.
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
	if !utf8.ValidString(o.Certificate) {
		errs = append(errs, errors.New("the Certificate is not valid UTF-8: it must be PEM, not DER"))
	}
	return errors.Join(append(errs,
		timers(o.HandshakeTimeout, o.AliveInterval, o.AliveTimeout, o.WriteTimeout),
		between("PacketBytes", o.PacketBytes, minPacketBytes, maxPacketBytes),
		between("MaxMessageBytes", o.MaxMessageBytes, minMessageBytes, maxMessageBytes),
	)...)
}

// longestTimer bounds every timer, so that a point in time and some of them can be added up.
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

// jitter is by how much an interval may be shorter or longer.
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
