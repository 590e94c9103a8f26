package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const introduction = `refinery is the agent of one refinery node. It authenticates at its master over the Cluster
Protocol, keeps the session alive, and publishes the upstream that the master grants.

  refinery --address=HOST:PORT --id=ID [flags]

It runs until SIGTERM or SIGINT, reconnects by itself, and logs to standard error.
`

// Main is the command (args without the program's name). It returns the exit code: 0 after --help and after an orderly end,
// 2 for wrong flags and when it cannot go on; then one line on stderr says why.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	config, err := ParseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usage())
		return 0
	}
	if err == nil {
		err = Run(ctx, config, slog.New(config.Log.Handler(stderr)))
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "refinery: %v\n", err)
		return 2
	}
	return 0
}

// newFlags binds every flag to its field of c, and sets each field to its default.
func newFlags(c *Config) *cli.Flags {
	f := cli.New("refinery")
	f.Group("The master")
	f.StringVar(&c.Address, "address", "", "`HOST:PORT` where the master listens; required without --master-file")
	f.StringVar(&c.ServerName, "server-name", "", "`NAME` name in the master's certificate, if not the host of --address")
	f.StringVar(&c.MasterFile, "master-file", "", "`FILE` file that the operator writes for its pods, with what --address, --alive-interval and --alive-timeout "+
		"say otherwise; it is read again whenever it changes, and a new session made")
	f.StringVar((*string)(&c.Transport), "transport", string(MutualTLS),
		"`TRANSPORT` MutualTLS, ServerTLS or Plaintext, as in the ClusterMaster's spec.security.transport")
	f.Group("This node")
	f.StringVar(&c.ID, "id", "", "`ID` of the node, which no other node has: REFINERY/NODE, or any other, such as a UUID; required")
	f.StringVar(&c.Type, "type", "refinery", "`TYPE` type of the node, one of the ClusterMaster's acceptedTypes")
	f.StringVar(&c.Version, "version", version.Version, "`VERSION` semantic version that the node announces")
	f.Group("Certificates, which are read again whenever they change")
	f.StringVar(&c.CertificateDir, "certificate-dir", "/etc/refinery/tls",
		"`DIRECTORY` directory with tls.crt, tls.key and ca.crt, such as a mounted Secret; ServerTLS needs ca.crt only, Plaintext nothing")
	f.StringVar(&c.SharedCertificateFile, "shared-certificate-file", "",
		"`FILE` file with the shared certificate, for masters with authentication SharedCertificate")
	f.Group("The session")
	f.DurationVar(&c.AliveInterval, "alive-interval", 10*time.Second, "`DURATION` time between heartbeats, each up to 10 % earlier or later")
	f.DurationVar(&c.AliveTimeout, "alive-timeout", 35*time.Second,
		"`DURATION` how long the master may be silent until the node gives the session up; at least twice --alive-interval")
	f.DurationVar(&c.MaxBackoff, "max-backoff", backoff.DefaultMax,
		"`DURATION` longest wait before another attempt; waits are random, at most 500ms after the first failure, and double up to this")
	c.ReadinessGrace = graceOfTimeout
	f.Func("readiness-grace", "`DURATION` how long the node stays ready without a session, while its upstream takes connections, its certificate is valid, "+
		"and the master has not denied it; 0s: not at all; not given: --alive-timeout, at most 1m", func(value string) (err error) {
		if c.ReadinessGrace, err = time.ParseDuration(value); err != nil || c.ReadinessGrace < 0 {
			return errors.New("write a duration, such as 30s")
		}
		return nil
	})
	f.Group("The workload")
	f.StringVar(&c.UpstreamFile, "upstream-file", "/run/refinery/upstream.json",
		"`FILE` file where the granted upstream is published as JSON, replaced atomically; its directory must exist; empty: no file")
	f.StringVar(&c.HTTPAddress, "http-address", "127.0.0.1:8081", "`HOST:PORT` where GET /upstream is served, and to this machine POST /load; empty: nowhere")
	f.StringVar(&c.LoadFile, "load-file", "", "`FILE` file where the workload says its load and status as JSON; it counts for a minute after each change; empty: no file")
	f.StringVar(&c.LoadCgroup, "load-cgroup", "",
		"`DIRECTORY` directory of a cgroup of version 2 whose share of its CPU is the load where the workload says none; empty: none")
	f.StringVar(&c.RelayAddress, "relay-address", "",
		"`HOST:PORT` where connections are taken that lead to the granted upstream, such as 127.0.0.1:8083; whoever can connect to it reaches the upstream; "+
			"empty: nowhere")
	f.IntVar(&c.RelayMaxConnections, "relay-max-connections", 1024, "`NUMBER` of connections there that may be open at one time")
	f.DurationVar(&c.RelayDrain, "relay-drain", 5*time.Minute,
		"`DURATION` how long such a connection stays where it is after another upstream is granted; new ones go to that at once")
	f.DurationVar(&c.RelayIdleTimeout, "relay-idle-timeout", 0,
		"`DURATION` after which such a connection ends if nothing moves on it; it is looked at every 10s; 0s: never")
	f.Group("Probes, metrics and log")
	f.StringVar(&c.HealthAddress, "health-address", ":8082", "`HOST:PORT` where /healthz, /readyz and /metrics are served; empty: nowhere")
	c.Log.Bind(f)
	return f
}

// ParseFlags turns the command line (without the program's name) into a validated Config. flag.ErrHelp: help was asked for.
// Any other error is one line that names the flag and says what to write instead.
func ParseFlags(args []string) (Config, error) {
	var c Config
	if err := newFlags(&c).Parse(args); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// usage is the text of --help.
func usage() string { return introduction + newFlags(&Config{}).Help() }
