package agent

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// flagGroups is the order of --help. Every flag is in exactly one group.
var flagGroups = []struct {
	title string
	names []string
}{
	{"Master", []string{"address", "server-name", "transport"}},
	{"This node", []string{"id", "type", "version"}},
	{"Certificates (read again whenever they change)", []string{"certificate-dir", "shared-certificate-file"}},
	{"Keeping the session alive", []string{"alive-interval", "alive-timeout", "max-backoff"}},
	{"What the workload is told", []string{"upstream-file", "http-address"}},
	{"Probes and metrics", []string{"health-address"}},
}

const introduction = `refinery is the agent of one refinery node. It authenticates at its master over the
Cluster Protocol, keeps the session alive, and publishes the upstream it was granted.

  refinery --address=HOST:PORT --id=REFINERY[/NODE] [flags]

It runs until SIGTERM or SIGINT, reconnects by itself, and logs to standard error.
`

// flagSet binds every flag to its field of c; the defaults are the values c is left with.
func flagSet(c *Config) *flag.FlagSet {
	fs := flag.NewFlagSet("refinery", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // ParseFlags says it, in one line
	fs.StringVar(&c.Address, "address", "", "`HOST:PORT` of the master. Required.")
	fs.StringVar(&c.ServerName, "server-name", "", "`NAME` that the master's certificate must hold. Default: the host of --address.")
	fs.Func("transport", "`MutualTLS`, ServerTLS or Plaintext, as the ClusterMaster has it. Default: MutualTLS.",
		func(s string) error { c.Transport = Transport(s); return nil })
	fs.StringVar(&c.ID, "id", "", "`REFINERY[/NODE]`, the node's unique id. It begins with the name of the Refinery. Required.")
	fs.StringVar(&c.Type, "type", "refinery", "`TYPE` of the node, one of the ClusterMaster's acceptedTypes.")
	fs.StringVar(&c.Version, "version", version.Version, "Semantic `VERSION` that is announced to the master.")
	fs.StringVar(&c.CertificateDir, "certificate-dir", "/etc/refinery/tls",
		"`DIRECTORY` with tls.crt, tls.key and ca.crt, such as a mounted Secret. ServerTLS reads only ca.crt, Plaintext nothing.")
	fs.StringVar(&c.SharedCertificateFile, "shared-certificate-file", "",
		"`FILE` whose content is sent instead of the node's own certificate. Only for masters with authentication: SharedCertificate.")
	durationFlag(fs, &c.AliveInterval, "alive-interval", 10*time.Second, "`DURATION` between heartbeats (each 10 % earlier or later).")
	durationFlag(fs, &c.AliveTimeout, "alive-timeout", 35*time.Second, "`DURATION` of silence after which the session is given up. At least twice --alive-interval.")
	durationFlag(fs, &c.MaxBackoff, "max-backoff", backoff.DefaultMax,
		"`DURATION` that the node waits at most before it tries again. The wait is random, at most 500ms after the first failure, and doubles up to this.")
	fs.StringVar(&c.UpstreamFile, "upstream-file", "/run/refinery/upstream.json",
		"`FILE` that holds the granted upstream as JSON, replaced atomically. Its directory must exist. Empty: no file.")
	fs.StringVar(&c.HTTPAddress, "http-address", "127.0.0.1:8081", "`HOST:PORT` to serve GET /upstream on. Empty: not served.")
	fs.StringVar(&c.HealthAddress, "health-address", ":8082", "`HOST:PORT` to serve /healthz, /readyz and /metrics on. Empty: not served.")
	return fs
}

func durationFlag(fs *flag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	fs.Func(name, usage+" Default: "+value.String()+".", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("not a duration; write for example --%s=%s", name, value)
		}
		*p = d
		return nil
	})
}

// ParseFlags turns the command line (without the program's name) into a validated Config. flag.ErrHelp: Usage was asked for.
// Any other error is one line that names the flag and says what to write instead.
func ParseFlags(args []string) (Config, error) {
	c := Config{Transport: MutualTLS}
	fs := flagSet(&c)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return Config{}, flag.ErrHelp
		}
		return Config{}, flagError(err)
	}
	if fs.NArg() > 0 {
		return Config{}, fmt.Errorf("%q is not a flag: every setting is written as --name=value; refinery --help lists them", fs.Arg(0))
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// flagError rewrites what package flag says (its errors have no types) into the form of Config.Validate.
func flagError(err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return fmt.Errorf("--%s is not a flag of refinery; refinery --help lists them", name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Errorf("--%s needs a value: write --%s=value", name, name)
	}
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, rest, _ := strings.Cut(rest, " for flag -")
		name, reason, _ := strings.Cut(rest, ": ")
		return fmt.Errorf("--%s=%s: %s", name, value, reason)
	}
	return fmt.Errorf("%s; refinery --help lists the flags", text)
}

// Usage is the text of --help: every flag by group, with its default.
func Usage() string {
	var c Config
	fs := flagSet(&c)
	var b strings.Builder
	b.WriteString(introduction)
	for _, group := range flagGroups {
		fmt.Fprintf(&b, "\n%s:\n", group.title)
		for _, name := range group.names {
			f := fs.Lookup(name)
			placeholder, usage := flag.UnquoteUsage(f)
			if f.DefValue != "" {
				usage += " Default: " + f.DefValue + "."
			}
			fmt.Fprintf(&b, "  --%s=%s\n", name, placeholder)
			for _, line := range wrap(usage, 84) {
				fmt.Fprintf(&b, "        %s\n", line)
			}
		}
	}
	return b.String()
}

// wrap breaks text at spaces into lines of at most width bytes; a longer word stands alone.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
