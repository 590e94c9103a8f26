package conformance

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/cli"
)

// Transport is how both sides are configured.
type Transport string

// The three transports.
const (
	MutualTLS Transport = "MutualTLS"
	ServerTLS Transport = "ServerTLS"
	Plaintext Transport = "Plaintext"
)

// Options is a validated command line.
type Options struct {
	peer    side
	Address string
	Transport
	CertFile, KeyFile, CAFile, ServerName string
	AuthCertFile                          string
	DeniedCertFile, DeniedKeyFile         string
	ID, Version, Type, RefusedVersion     string

	AliveInterval, AliveTimeout, HandshakeTimeout time.Duration
	WriteTimeout                                  time.Duration
	EstablishBytes, AuthStartBytes, SessionBytes  int
	MaxMessageBytes, TLSFlightBytes               int
	MaxHandshakesPerSource                        int
	UnusableUpstream                              string
	Patience, ConnectTimeout                      time.Duration
	Slow, List                                    bool
	Format                                        string
	Run                                           *regexp.Regexp
	given                                         map[string]bool
	credentials
}

// newFlags binds the flags of one peer, in the groups of its help.
func newFlags(o *Options) *cli.Flags {
	f := cli.New("conformance " + string(o.peer))
	f.Group("The " + string(o.peer))
	cli.Choice(f, &o.Transport, "transport", MutualTLS, "`TRANSPORT` MutualTLS, ServerTLS or Plaintext: what the "+string(o.peer)+" is configured for",
		MutualTLS, ServerTLS, Plaintext)
	if o.peer == master {
		o.bindMaster(f)
	} else {
		o.bindRefinery(f)
	}
	f.Group("The run")
	f.DurationVar(&o.Patience, "patience", 2*time.Second, "`DURATION` how long to wait for an answer, or for the "+string(o.peer)+" to close")
	f.Func("run", "`REGEXP` only the cases whose names match, such as ^R-4", func(s string) (err error) {
		o.Run, err = regexp.Compile(s)
		return err
	})
	f.BoolVar(&o.List, "list", false, "print the names of the cases, and the rules that have none; test nothing")
	cli.Choice(f, &o.Format, "format", "text", "`FORMAT` text, json or junit", "text", "json", "junit")
	return f
}

func (o *Options) bindMaster(f *cli.Flags) {
	f.StringVar(&o.Address, "address", "", "`HOST:PORT` where the master listens; required")
	f.StringVar(&o.ServerName, "server-name", "", "`NAME` name in the master's certificate, if not the host of --address")
	o.bindTLS(f)
	f.Group("What the kit announces")
	o.bindAnnounced(f, "conformance", "0.1.0", "refinery")
	f.StringVar(&o.AuthCertFile, "auth-cert", "", "`FILE` cert in auth:start: the shared certificate; with MutualTLS, if not given, the certificate of --cert")
	f.Group("What the master refuses, for the cases that need it")
	f.StringVar(&o.RefusedVersion, "refused-version", "", "`VERSION` version that it answers with conn:close")
	f.StringVar(&o.DeniedCertFile, "denied-cert", "", "`FILE` cert that it answers with auth:dec; with MutualTLS a certificate that TLS accepts")
	f.StringVar(&o.DeniedKeyFile, "denied-key", "", "`FILE` private key of --denied-cert, with MutualTLS")
	o.bindTimeouts(f)
	f.DurationVar(&o.WriteTimeout, "write-timeout", 5*time.Second, "`DURATION` WriteTimeout: how long a write may take")
	f.Group("The master's bounds, if they are not the defaults")
	f.IntVar(&o.EstablishBytes, "establish-bytes", 4<<10, "`BYTES` EstablishBytes: longest conn:establish")
	f.IntVar(&o.AuthStartBytes, "auth-start-bytes", 64<<10, "`BYTES` AuthStartBytes: longest auth:start")
	f.IntVar(&o.SessionBytes, "session-bytes", 4<<10, "`BYTES` SessionBytes: longest message after auth:start")
	f.IntVar(&o.TLSFlightBytes, "tls-flight-bytes", 8<<10, "`BYTES` TLSFlightBytes: most that it reads at a time during the TLS handshake")
	f.IntVar(&o.MaxHandshakesPerSource, "max-handshakes-per-source", 32, "`N` MaxHandshakesPerSource: most connections of one address that are not authenticated; the kit takes them all for some seconds")
}

func (o *Options) bindTLS(f *cli.Flags) {
	f.Group("TLS")
	f.StringVar(&o.CertFile, "cert", "", "`FILE` certificate that the kit presents, PEM")
	f.StringVar(&o.KeyFile, "key", "", "`FILE` private key of --cert, PEM")
	f.StringVar(&o.CAFile, "ca", "", "`FILE` authorities that the "+string(o.peer)+"'s certificate is verified with, PEM")
}

// bindAnnounced binds what a refinery announces, be it the kit or the peer.
func (o *Options) bindAnnounced(f *cli.Flags, id, version, typ string) {
	f.StringVar(&o.ID, "id", id, "`ID` id in conn:establish")
	f.StringVar(&o.Version, "version", version, "`VERSION` version in conn:establish")
	f.StringVar(&o.Type, "type", typ, "`TYPE` type in conn:establish")
}

// bindTimeouts binds the timeouts that both peers have, in a group of their own.
func (o *Options) bindTimeouts(f *cli.Flags) {
	f.Group("The " + string(o.peer) + "'s timeouts; the cases that wait for one run if its flag is given")
	f.DurationVar(&o.AliveTimeout, "alive-timeout", 35*time.Second, "`DURATION` AliveTimeout: how long it waits for a message until it closes")
	f.DurationVar(&o.HandshakeTimeout, "handshake-timeout", 10*time.Second, "`DURATION` HandshakeTimeout: how long the opening may take")
	f.BoolVar(&o.Slow, "slow", false, "run the cases that wait for these timeouts, given or not")
}

func (o *Options) bindRefinery(f *cli.Flags) {
	f.StringVar(&o.Address, "listen", "", "`HOST:PORT` where the kit listens; required")
	f.DurationVar(&o.ConnectTimeout, "connect-timeout", time.Minute, "`DURATION` how long to wait for the refinery to connect; if it takes longer, the run ends")
	o.bindTLS(f)
	f.Group("What the refinery must announce; anything, unless given")
	o.bindAnnounced(f, "", "", "")
	f.StringVar(&o.AuthCertFile, "auth-cert", "", "`FILE` cert in auth:start; with MutualTLS it must be the certificate of the TLS handshake, given or not")
	f.Group("What the refinery refuses, for the cases that need it")
	f.StringVar(&o.UnusableUpstream, "unusable-upstream", "", "`UPSTREAM` upstream that it answers with conn:close")
	o.bindTimeouts(f)
	f.Group("The refinery's interval and bound, if they are not the defaults")
	f.IntVar(&o.MaxMessageBytes, "max-message-bytes", 64<<10, "`BYTES` MaxMessageBytes: longest message that it reads")
	f.DurationVar(&o.AliveInterval, "alive-interval", 10*time.Second, "`DURATION` AliveInterval: time between its conn:alive; should be longer than --patience")
}

// ParseOptions reads the command line. flag.ErrHelp: help was asked for, and was written to help. Any other error is one
// line that names the flag.
func ParseOptions(args []string, help io.Writer) (*Options, error) {
	if len(args) == 0 {
		return nil, errors.New("say what to test: master or refinery")
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		_, _ = io.WriteString(help, usage+exits)
		return nil, flag.ErrHelp
	case string(master), string(refinery):
	default:
		return nil, fmt.Errorf("%q cannot be tested: say master or refinery", args[0])
	}
	o := &Options{peer: side(args[0]), given: map[string]bool{}}
	f := newFlags(o)
	if err := f.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(help, usageOf(o.peer))
		}
		return nil, err
	}
	f.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	checks := []func() error{o.validateBounds}
	if o.List && o.Format == "junit" {
		return nil, errors.New("--list has no form for junit: write --format=text or --format=json")
	}
	if !o.List {
		checks = append(checks, o.validateAddress, o.validateFiles)
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *Options) validateAddress() error {
	address := "address"
	if o.peer == refinery {
		address = "listen"
	}
	if o.Address == "" {
		return fmt.Errorf("--%s is required: write --%s=HOST:PORT", address, address)
	}
	lowest := 1
	if o.peer == refinery {
		lowest = 0
	}
	if _, err := cli.SplitHostPort(o.Address, lowest); err != nil {
		return fmt.Errorf("--%s=%s: %w; write --%s=HOST:PORT", address, o.Address, err, address)
	}
	return nil
}

func (o *Options) validateFiles() error {
	ownCertificate := o.Transport == MutualTLS || (o.Transport == ServerTLS && o.peer == refinery)
	authority := o.Transport == MutualTLS || (o.Transport == ServerTLS && o.peer == master)
	for _, f := range [...]struct {
		flag, value string
		use         bool
	}{{"cert", o.CertFile, ownCertificate}, {"key", o.KeyFile, ownCertificate}, {"ca", o.CAFile, authority}} {
		if f.use && f.value == "" {
			return fmt.Errorf("--%s is required with --transport=%s: write --%s=FILE", f.flag, o.Transport, f.flag)
		}
		if !f.use && f.value != "" {
			return fmt.Errorf("--%s has no use with --transport=%s", f.flag, o.Transport)
		}
	}
	if o.peer == refinery {
		return nil
	}
	if o.Transport != MutualTLS && o.AuthCertFile == "" {
		return fmt.Errorf("--auth-cert is required with --transport=%s: write --auth-cert=FILE", o.Transport)
	}
	if needsKey := o.Transport == MutualTLS && o.DeniedCertFile != ""; needsKey != (o.DeniedKeyFile != "") {
		return errors.New("--denied-cert and --denied-key go together with MutualTLS, and --denied-key with nothing else")
	}
	return nil
}

func (o *Options) validateBounds() error {
	for _, d := range [...]struct {
		flag  string
		value time.Duration
		use   bool
	}{
		{"patience", o.Patience, true}, {"alive-timeout", o.AliveTimeout, true}, {"handshake-timeout", o.HandshakeTimeout, true},
		{"write-timeout", o.WriteTimeout, o.peer == master},
		{"alive-interval", o.AliveInterval, o.peer == refinery}, {"connect-timeout", o.ConnectTimeout, o.peer == refinery},
	} {
		if d.use && (d.value < time.Millisecond || d.value > time.Hour) {
			return fmt.Errorf("--%s=%v: write 1ms to 1h", d.flag, d.value)
		}
	}
	for _, n := range [...]struct {
		flag         string
		value, least int
		use          bool
	}{
		{"establish-bytes", o.EstablishBytes, 1024, o.peer == master}, {"auth-start-bytes", o.AuthStartBytes, 1024, o.peer == master},
		{"session-bytes", o.SessionBytes, 512, o.peer == master}, {"tls-flight-bytes", o.TLSFlightBytes, 4096, o.peer == master},
		{"max-message-bytes", o.MaxMessageBytes, 2048, o.peer == refinery},
	} {
		if n.use && (n.value < n.least || n.value > 16<<20) {
			return fmt.Errorf("--%s=%d: write %d to %d", n.flag, n.value, n.least, 16<<20)
		}
	}
	if n := o.MaxHandshakesPerSource; o.peer == master && (n < 2 || n > 256) {
		return fmt.Errorf("--max-handshakes-per-source=%d: write 2 to 256", n)
	}
	for _, a := range [...]struct {
		flag, value string
		most        int
	}{{"id", o.ID, 253}, {"version", o.Version, 64}, {"type", o.Type, 64}} {
		if len(a.value) > a.most || (o.peer == master && a.value == "") {
			return fmt.Errorf("--%s has %d bytes: write 1 to %d", a.flag, len(a.value), a.most)
		}
	}
	return nil
}
