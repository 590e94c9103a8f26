package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
)

// Transport is how the connection to the master is protected; its values are those of ClusterMaster spec.security.transport.
type Transport string

const (
	// MutualTLS verifies the master and presents the refinery's own certificate.
	MutualTLS Transport = "MutualTLS"
	// ServerTLS verifies the master and presents no certificate; a shared certificate authenticates the refinery.
	ServerTLS Transport = "ServerTLS"
	// Plaintext protects nothing; a shared certificate authenticates the refinery.
	Plaintext Transport = "Plaintext"
)

const (
	maxIDBytes       = 253
	maxNameBytes     = 63
	minAliveInterval = time.Second
	maxAliveInterval = time.Hour
	maxAliveTimeout  = 3 * time.Hour
	minMaxBackoff    = 100 * time.Millisecond
	maxMaxBackoff    = 10 * time.Minute
	// maxReadinessGrace is as long as the longest wait: a node that is away for longer is not about to come back.
	maxReadinessGrace = 10 * time.Minute

	maxRelayConnections = 65536
	maxRelayDrain       = 24 * time.Hour
	minRelayIdleTimeout = 10 * time.Second // the relay does not look more often
	maxRelayIdleTimeout = 24 * time.Hour
)

// Config is what the flags say. Validate names the flag that is wrong.
type Config struct {
	// Settings of the master. Those in MasterFile, if there is one, take their place.
	masterfile.Settings
	// MasterFile is a file as package masterfile describes it, which is followed when it changes; empty: there is none.
	MasterFile string
	// ServerName the master's certificate must hold; empty: the host of Address.
	ServerName string
	Transport  Transport
	// ID is <refinery> or <refinery>/<node>.
	ID string
	// Type and Version are announced in conn:establish.
	Type, Version string
	// CertificateDir holds ca.crt, and with MutualTLS tls.crt and tls.key. Not read with Plaintext.
	CertificateDir string
	// SharedCertificateFile is sent in auth:start instead of the refinery's own certificate; empty with IssuedCertificate.
	SharedCertificateFile string
	// ReadinessGrace is how long a node that has lost its session stays ready; 0: not at all; negative: the alive timeout, at most
	// a minute.
	ReadinessGrace time.Duration
	// MaxBackoff is the longest wait between two attempts to get a session.
	MaxBackoff time.Duration
	// UpstreamFile is where the granted upstream is published; empty: nowhere.
	UpstreamFile string
	// LoadFile is where the workload says its load and status; empty: nowhere.
	LoadFile string
	// LoadCgroup is the directory of a cgroup whose share of its CPU is the load where the workload says none; empty: none.
	LoadCgroup string
	// HTTPAddress serves GET /upstream and POST /load; empty: not served.
	HTTPAddress string
	// HealthAddress serves /healthz, /readyz and /metrics; empty: not served.
	HealthAddress string
	// RelayAddress is where connections are relayed to the upstream; empty: nowhere. Then the other settings of the relay have no meaning.
	RelayAddress string
	// RelayMaxConnections is how many of them there may be at one time.
	RelayMaxConnections int
	// RelayDrain is how long one of them stays at a former upstream.
	RelayDrain time.Duration
	// RelayIdleTimeout is after how long one ends on which nothing moves; 0: never.
	RelayIdleTimeout time.Duration
	// Log is what Main writes; Run is given a logger.
	Log logging.Options
}

var (
	// label is what the API takes for a type.
	label    = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	semantic = regexp.MustCompile(`^v?[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z.-]+)?([+][0-9A-Za-z.-]+)?$`)
)

// Validate returns the first thing that is wrong, as one line that names the flag and says what to write instead.
func (c Config) Validate() error {
	checks := []func() error{c.validateTransport, c.validateIdentity, c.validatePatience, c.validateCertificates, c.validatePublishing, c.validateRelay}
	if c.MasterFile == "" {
		checks = append(checks, c.validateMaster, c.validateAlive)
	} else {
		checks = append(checks, c.validateMasterFile)
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) validateMaster() error {
	if c.Address == "" {
		return errors.New("--address is missing: write the master's host and port, for example --address=alpha.plant.svc:34308")
	}
	if err := validateHostPort(c.Address); err != nil {
		return fmt.Errorf("--address=%q: %w; write the master's host and port, for example --address=alpha.plant.svc:34308", c.Address, err)
	}
	if strings.ContainsAny(c.ServerName, ": /") && net.ParseIP(c.ServerName) == nil {
		return fmt.Errorf("--server-name=%q is not a host name: write it without a port, for example --server-name=alpha.plant.svc", c.ServerName)
	}
	return nil
}

func (c Config) validateMasterFile() error {
	if c.Address != "" {
		return errors.New("--address and --master-file are both given: the file has the address; leave one of them out")
	}
	if err := validateDirectory(filepath.Dir(c.MasterFile)); err != nil {
		return fmt.Errorf("--master-file=%q: its directory %w; write the path of master.json", c.MasterFile, err)
	}
	return nil
}

func (c Config) validateTransport() error {
	switch c.Transport {
	case MutualTLS, ServerTLS, Plaintext:
		return nil
	default:
		return fmt.Errorf("--transport=%q is not known: write MutualTLS, ServerTLS or Plaintext, as the ClusterMaster's spec.security.transport says", c.Transport)
	}
}

func (c Config) validateIdentity() error {
	switch {
	case c.ID == "":
		return errors.New("--id is missing: write an id that no other node has, for example --id=press/press-1")
	case len(c.ID) > maxIDBytes:
		return fmt.Errorf("--id is %d bytes long: use at most %d, for example --id=press/press-1", len(c.ID), maxIDBytes)
	case !utf8.ValidString(c.ID) || strings.ContainsFunc(c.ID, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("--id=%q has characters that cannot be printed: write for example --id=press/press-1", c.ID)
	case len(c.Type) > maxNameBytes || !label.MatchString(c.Type):
		return fmt.Errorf("--type=%q: write at most %d letters, digits, '-', '_' and '.', for example --type=refinery", c.Type, maxNameBytes)
	case len(c.Version) > maxNameBytes || !semantic.MatchString(c.Version):
		return fmt.Errorf("--version=%q is not a semantic version: write for example --version=0.1.0", c.Version)
	}
	return nil
}

func (c Config) validateAlive() error {
	if c.AliveInterval < minAliveInterval || c.AliveInterval > maxAliveInterval {
		return fmt.Errorf("--alive-interval=%s: write a duration from %s to %s, for example --alive-interval=10s", c.AliveInterval, minAliveInterval, maxAliveInterval)
	}
	if c.AliveTimeout < 2*c.AliveInterval || c.AliveTimeout > maxAliveTimeout {
		return fmt.Errorf("--alive-timeout=%s: write at least twice --alive-interval (%s) and at most %s, so that one late heartbeat ends nothing",
			c.AliveTimeout, 2*c.AliveInterval, maxAliveTimeout)
	}
	return nil
}

func (c Config) validatePatience() error {
	if c.ReadinessGrace > maxReadinessGrace {
		return fmt.Errorf("--readiness-grace=%s: write a duration from 0s to %s, for example --readiness-grace=30s", c.ReadinessGrace, maxReadinessGrace)
	}
	if c.MaxBackoff < minMaxBackoff || c.MaxBackoff > maxMaxBackoff {
		return fmt.Errorf("--max-backoff=%s: write a duration from %s to %s, for example --max-backoff=30s", c.MaxBackoff, minMaxBackoff, maxMaxBackoff)
	}
	return nil
}

func (c Config) validateCertificates() error {
	if c.Transport != MutualTLS && c.SharedCertificateFile == "" {
		return fmt.Errorf("--shared-certificate-file is missing: with --transport=%s nothing else authenticates this node; write the file of the shared certificate, or --transport=MutualTLS", c.Transport)
	}
	if c.Transport != Plaintext {
		if err := validateDirectory(c.CertificateDir); err != nil {
			return fmt.Errorf("--certificate-dir=%q: %w; write the directory that holds tls.crt, tls.key and ca.crt", c.CertificateDir, err)
		}
	}
	if c.SharedCertificateFile != "" {
		if err := validateDirectory(filepath.Dir(c.SharedCertificateFile)); err != nil {
			return fmt.Errorf("--shared-certificate-file=%q: its directory %w; write the path of the shared certificate", c.SharedCertificateFile, err)
		}
	}
	return nil
}

func (c Config) validatePublishing() error {
	if c.UpstreamFile != "" {
		if err := validateDirectory(filepath.Dir(c.UpstreamFile)); err != nil {
			return fmt.Errorf("--upstream-file=%q: its directory %w; create it, or write --upstream-file= to publish no file", c.UpstreamFile, err)
		}
	}
	if c.LoadFile != "" {
		if err := validateDirectory(filepath.Dir(c.LoadFile)); err != nil {
			return fmt.Errorf("--load-file=%q: its directory %w; create it, and have the workload write the file there", c.LoadFile, err)
		}
	}
	if c.LoadCgroup != "" {
		if err := validateDirectory(c.LoadCgroup); err != nil {
			return fmt.Errorf("--load-cgroup=%q: %w; write the directory of a cgroup of version 2, such as --load-cgroup=/sys/fs/cgroup", c.LoadCgroup, err)
		}
	}
	taken := map[string]string{}
	for _, listen := range []struct{ flag, address, example string }{
		{"http-address", c.HTTPAddress, "127.0.0.1:8081"},
		{"health-address", c.HealthAddress, ":8082"},
		{"relay-address", c.RelayAddress, "127.0.0.1:8083"},
	} {
		if listen.address == "" {
			continue
		}
		if _, err := cli.SplitHostPort(listen.address, 0); err != nil {
			return fmt.Errorf("--%s=%q: %w; write for example --%s=%s, or --%s= to serve nothing", listen.flag, listen.address, err, listen.flag, listen.example, listen.flag)
		}
		if other := taken[listen.address]; other != "" && !strings.HasSuffix(listen.address, ":0") {
			return fmt.Errorf("--%s and --%s are both %q: give each its own port", other, listen.flag, listen.address)
		}
		taken[listen.address] = listen.flag
	}
	return nil
}

func (c Config) validateRelay() error {
	if c.RelayAddress == "" {
		return nil
	}
	switch host, _ := cli.SplitHostPort(c.RelayAddress, 0); { // it was validated
	case host == "":
		return fmt.Errorf("--relay-address=%q has no host, and whoever can connect to it reaches the upstream: write for example --relay-address=127.0.0.1:8083", c.RelayAddress)
	case c.RelayMaxConnections < 1 || c.RelayMaxConnections > maxRelayConnections:
		return fmt.Errorf("--relay-max-connections=%d: write a number from 1 to %d, for example --relay-max-connections=1024", c.RelayMaxConnections, maxRelayConnections)
	case c.RelayDrain < 0 || c.RelayDrain > maxRelayDrain:
		return fmt.Errorf("--relay-drain=%s: write a duration from 0s to %s, for example --relay-drain=5m", c.RelayDrain, maxRelayDrain)
	case c.RelayIdleTimeout != 0 && (c.RelayIdleTimeout < minRelayIdleTimeout || c.RelayIdleTimeout > maxRelayIdleTimeout):
		return fmt.Errorf("--relay-idle-timeout=%s: write a duration from %s to %s, or 0s for none", c.RelayIdleTimeout, minRelayIdleTimeout, maxRelayIdleTimeout)
	}
	return nil
}

func validateDirectory(path string) error {
	if path == "" {
		return errors.New("is empty")
	}
	switch stat, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("does not exist")
	case err != nil:
		return fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	case !stat.IsDir():
		return errors.New("is not a directory")
	}
	return nil
}

// validateHostPort accepts what can be dialed: a host and a port from 1 to 65535.
func validateHostPort(address string) error {
	host, err := cli.SplitHostPort(address, 1)
	if err != nil {
		return err
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }) {
		return errors.New("the host is missing or malformed")
	}
	return nil
}

// settingsIn are the settings that text, the content of MasterFile, puts in the place of those of the flags.
func (c Config) settingsIn(text []byte) (masterfile.Settings, error) {
	settings, err := masterfile.Parse(text)
	if err != nil {
		return settings, fmt.Errorf("--master-file=%s: %w", c.MasterFile, err)
	}
	c.Settings = settings
	for _, check := range []func() error{c.validateMaster, c.validateAlive} {
		if err := check(); err != nil {
			return settings, fmt.Errorf("--master-file=%s says in the place of a flag: %w", c.MasterFile, err)
		}
	}
	return settings, nil
}

// serverName is what the master's certificate is verified against.
func (c Config) serverName(at masterfile.Settings) string {
	if c.ServerName != "" {
		return c.ServerName
	}
	host, _, _ := net.SplitHostPort(at.Address) // it was validated
	return host
}
