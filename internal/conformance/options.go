package conformance

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"
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

const usage = `conformance tests an implementation of the Cluster Protocol over the network, a case a rule of protocol/spec.md.

  conformance master --address=HOST:PORT [flags]      plays refineries against a master
  conformance refinery --listen=HOST:PORT [flags]     plays a master against a refinery

conformance master --help and conformance refinery --help list the flags.
`

const exits = `
Exit code: 0 every case passed, 1 some failed, 2 wrong flags, 3 nothing could be tested (unreachable, or not the protocol).
`

var introductions = map[side]string{
	master: `conformance master plays refineries against the master at --address.

  conformance master --address=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance master --address=HOST:PORT --transport=Plaintext --auth-cert=shared.txt [flags]

The master must let in what --id, --version, --type and the certificate announce.

Flags:
`,
	refinery: `conformance refinery plays a master against the refinery that connects to --listen, a connection a case.

  conformance refinery --listen=HOST:PORT --cert=tls.crt --key=tls.key --ca=ca.crt [flags]
  conformance refinery --listen=HOST:PORT --transport=Plaintext [flags]

Start it, then the refinery, which must connect again whenever a connection ends, and soon.

Flags:
`,
}

// flagSet binds the flags of one peer.
func flagSet(o *Options) *flag.FlagSet {
	fs := flag.NewFlagSet("conformance "+string(o.peer), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if o.peer == master {
		fs.StringVar(&o.Address, "address", "", "`HOST:PORT` of the master (required)")
		fs.StringVar(&o.ID, "id", "conformance", "`ID` that is announced")
		fs.StringVar(&o.Version, "version", "0.1.0", "`VERSION` that is announced")
		fs.StringVar(&o.Type, "type", "refinery", "`TYPE` that is announced")
		fs.StringVar(&o.RefusedVersion, "refused-version", "", "`VERSION` that the master refuses, for the cases that need one")
		fs.StringVar(&o.ServerName, "server-name", "", "`NAME` that the master's certificate must hold; default: the host of --address")
		fs.StringVar(&o.AuthCertFile, "auth-cert", "", "`FILE` that auth:start sends; default with MutualTLS: the certificate of --cert")
		fs.StringVar(&o.DeniedCertFile, "denied-cert", "", "`FILE` that the master answers with auth:dec (with MutualTLS: a certificate that TLS lets in)")
		fs.StringVar(&o.DeniedKeyFile, "denied-key", "", "`FILE` with the key of --denied-cert, with MutualTLS")
		fs.IntVar(&o.EstablishBytes, "establish-bytes", 4<<10, "`BYTES` of the master's bound EstablishBytes")
		fs.IntVar(&o.AuthStartBytes, "auth-start-bytes", 64<<10, "`BYTES` of the master's bound AuthStartBytes")
		fs.IntVar(&o.SessionBytes, "session-bytes", 4<<10, "`BYTES` of the master's bound SessionBytes")
		fs.IntVar(&o.TLSFlightBytes, "tls-flight-bytes", 8<<10, "`BYTES` of the master's bound TLSFlightBytes")
		fs.DurationVar(&o.WriteTimeout, "write-timeout", 5*time.Second, "`DURATION` of the master's write timeout; giving it runs the case that waits for it")
		fs.IntVar(&o.MaxHandshakesPerSource, "max-handshakes-per-source", 32, "`NUMBER` of connections from one address that the master lets wait for authentication")
	} else {
		fs.StringVar(&o.Address, "listen", "", "`HOST:PORT` to listen on (required)")
		fs.StringVar(&o.ID, "id", "", "`ID` that the refinery must announce; default: any")
		fs.StringVar(&o.Version, "version", "", "`VERSION` that the refinery must announce; default: any")
		fs.StringVar(&o.Type, "type", "", "`TYPE` that the refinery must announce; default: any")
		fs.StringVar(&o.AuthCertFile, "auth-cert", "", "`FILE` that auth:start must send; default: anything, and with MutualTLS the certificate that TLS has proven")
		fs.IntVar(&o.MaxMessageBytes, "max-message-bytes", 64<<10, "`BYTES` of the refinery's bound MaxMessageBytes")
		fs.DurationVar(&o.AliveInterval, "alive-interval", 10*time.Second, "`DURATION` of the refinery's alive interval")
		fs.StringVar(&o.UnusableUpstream, "unusable-upstream", "", "`UPSTREAM` that the refinery cannot use, for the cases that need one")
		fs.DurationVar(&o.ConnectTimeout, "connect-timeout", time.Minute, "`DURATION` to wait for the refinery to connect")
	}
	fs.Func("transport", "`MutualTLS`, ServerTLS or Plaintext (default MutualTLS)", func(s string) error {
		o.Transport = Transport(s)
		return nil
	})
	fs.StringVar(&o.CertFile, "cert", "", "`FILE` with the certificate of this side of TLS, PEM")
	fs.StringVar(&o.KeyFile, "key", "", "`FILE` with its key, PEM")
	fs.StringVar(&o.CAFile, "ca", "", "`FILE` with the authorities that the other side's certificate is verified with, PEM")
	fs.DurationVar(&o.AliveTimeout, "alive-timeout", 35*time.Second, "`DURATION` of the peer's alive timeout; giving it runs the cases that wait for it")
	fs.DurationVar(&o.HandshakeTimeout, "handshake-timeout", 10*time.Second, "`DURATION` of the peer's handshake timeout; giving it runs the cases that wait for it")
	fs.DurationVar(&o.Patience, "patience", 2*time.Second, "`DURATION` to wait for an answer, or for the peer to close")
	fs.BoolVar(&o.Slow, "slow", false, "run the cases that wait for the peer's timeouts too")
	fs.Func("run", "run only the cases whose names match the `REGEXP`", func(s string) (err error) {
		o.Run, err = regexp.Compile(s)
		return err
	})
	fs.BoolVar(&o.List, "list", false, "print the names of the cases, and which rules have none and why, and do nothing")
	fs.StringVar(&o.Format, "format", "text", "`text`, json or junit")
	return fs
}

// ParseOptions reads the command line. flag.ErrHelp: the usage was asked for, and was written to help. Any other error is
// one line that names the flag.
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
		return nil, fmt.Errorf("%q is nothing to test: say master or refinery", args[0])
	}
	o := &Options{peer: side(args[0]), Transport: MutualTLS, given: map[string]bool{}}
	fs := flagSet(o)
	if err := fs.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(help, o.peer)
			return nil, flag.ErrHelp
		}
		return nil, errors.New(flagLine(err))
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag: every setting is written as --name=value", fs.Arg(0))
	}
	fs.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	checks := []func() error{o.validateBounds, o.validateChoices}
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

func printUsage(w io.Writer, peer side) {
	fs := flagSet(&Options{peer: peer})
	_, _ = io.WriteString(w, introductions[peer])
	fs.SetOutput(w)
	fs.PrintDefaults()
	_, _ = io.WriteString(w, exits)
}

func (o *Options) validateAddress() error {
	address := "address"
	if o.peer == refinery {
		address = "listen"
	}
	if o.Address == "" {
		return fmt.Errorf("--%s is required: write --%s=HOST:PORT", address, address)
	}
	_, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fmt.Errorf("--%s=%s is not HOST:PORT", address, o.Address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || (n == 0 && o.peer == master) {
		return fmt.Errorf("--%s=%s: %q is no port", address, o.Address, port)
	}
	return nil
}

func (o *Options) validateChoices() error {
	switch o.Transport {
	case MutualTLS, ServerTLS, Plaintext:
	default:
		return fmt.Errorf("--transport=%s: write MutualTLS, ServerTLS or Plaintext", o.Transport)
	}
	switch o.Format {
	case "text", "json", "junit":
	default:
		return fmt.Errorf("--format=%s: write text, json or junit", o.Format)
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

// flagLine makes one line of what package flag says.
func flagLine(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "--" + strings.TrimPrefix(name, "-") + " is not a flag"
	}
	return text
}
