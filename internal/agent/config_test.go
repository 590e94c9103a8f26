package agent

import (
	"errors"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

func TestWrongFlagsAreNamedInOneLine(t *testing.T) {
	directory := t.TempDir()
	missing := filepath.Join(directory, "missing")
	for _, test := range []struct {
		name string
		args []string
		want string // with DIR for the directory
	}{
		{"no address", []string{"--address="}, "--address is missing: write the master's host and port, for example --address=alpha.plant.svc:34308"},
		{"address without a port", []string{"--address=alpha.plant.svc"}, `--address="alpha.plant.svc": it is not host:port; write the master's host and port, for example --address=alpha.plant.svc:34308`},
		{"address with a named port", []string{"--address=alpha:cluster"}, `--address="alpha:cluster": the port must be a number from 1 to 65535; write the master's host and port, for example --address=alpha.plant.svc:34308`},
		{"address without a host", []string{"--address=:34308"}, `--address=":34308": the host is missing or malformed; write the master's host and port, for example --address=alpha.plant.svc:34308`},
		{"address and file", []string{"--master-file=" + directory + "/master.json"}, "--address and --master-file are both given: the file has the address; leave one of them out"},
		{"no directory of the file", []string{"--address=", "--master-file=" + missing + "/master.json"}, `--master-file="DIR/missing/master.json": its directory does not exist; write the path of master.json`},
		{"server name with a port", []string{"--server-name=alpha:34308"}, `--server-name="alpha:34308" is not a host name: write it without a port, for example --server-name=alpha.plant.svc`},
		{"unknown transport", []string{"--transport=TLS"}, `--transport="TLS" is not known: write MutualTLS, ServerTLS or Plaintext, as the ClusterMaster's spec.security.transport says`},
		{"no id", []string{"--id="}, "--id is missing: write an id that no other node has, for example --id=press/press-1"},
		{"id with a newline", []string{"--id=a\nb"}, `--id="a\nb" has characters that cannot be printed: write for example --id=press/press-1`},
		{"id too long", []string{"--id=a/" + strings.Repeat("b", 252)}, "--id is 254 bytes long: use at most 253, for example --id=press/press-1"},
		{"type", []string{"--type=a b"}, `--type="a b": write at most 63 letters, digits, '-', '_' and '.', for example --type=refinery`},
		{"version", []string{"--version=one"}, `--version="one" is not a semantic version: write for example --version=0.1.0`},
		{"interval no duration", []string{"--alive-interval=10"}, "--alive-interval=10: write a duration, such as 10s"},
		{"interval too short", []string{"--alive-interval=1ms"}, "--alive-interval=1ms: write a duration from 1s to 1h0m0s, for example --alive-interval=10s"},
		{"timeout too short", []string{"--alive-timeout=15s"}, "--alive-timeout=15s: write at least twice --alive-interval (20s) and at most 3h0m0s, so that one late heartbeat ends nothing"},
		{"backoff too short", []string{"--max-backoff=99ms"}, "--max-backoff=99ms: write a duration from 100ms to 10m0s, for example --max-backoff=30s"},
		{"backoff too long", []string{"--max-backoff=10m1ms"}, "--max-backoff=10m0.001s: write a duration from 100ms to 10m0s, for example --max-backoff=30s"},
		{"certificate directory missing", []string{"--certificate-dir=" + missing}, `--certificate-dir="DIR/missing": does not exist; write the directory that holds tls.crt, tls.key and ca.crt`},
		{"nothing authenticates", []string{"--transport=ServerTLS"}, "--shared-certificate-file is missing: with --transport=ServerTLS nothing else authenticates this node; write the file of the shared certificate, or --transport=MutualTLS"},
		{"shared certificate's directory missing", []string{"--shared-certificate-file=" + missing + "/certificate"}, `--shared-certificate-file="DIR/missing/certificate": its directory does not exist; write the path of the shared certificate`},
		{"load's directory missing", []string{"--load-file=" + missing + "/load.json"}, `--load-file="DIR/missing/load.json": its directory does not exist; create it, and have the workload write the file there`},
		{"no cgroup", []string{"--load-cgroup=" + missing}, `--load-cgroup="DIR/missing": does not exist; write the directory of a cgroup of version 2, such as --load-cgroup=/sys/fs/cgroup`},
		{"upstream's directory missing", []string{"--upstream-file=" + missing + "/upstream.json"}, `--upstream-file="DIR/missing/upstream.json": its directory does not exist; create it, or write --upstream-file= to publish no file`},
		{"listen address", []string{"--health-address=8082"}, `--health-address="8082": it is not host:port; write for example --health-address=:8082, or --health-address= to serve nothing`},
		{"relay without a host", []string{"--relay-address=:8083"}, `--relay-address=":8083" has no host, and whoever can connect to it reaches the upstream: write for example --relay-address=127.0.0.1:8083`},
		{"relay on a taken port", []string{"--relay-address=127.0.0.1:8081"}, `--http-address and --relay-address are both "127.0.0.1:8081": give each its own port`},
		{"relay of no connections", []string{"--relay-address=127.0.0.1:8083", "--relay-max-connections=0"}, "--relay-max-connections=0: write a number from 1 to 65536, for example --relay-max-connections=1024"},
		{"relay of no number", []string{"--relay-max-connections=many"}, "--relay-max-connections=many: write a whole number, such as 1024"},
		{"drain too long", []string{"--relay-address=127.0.0.1:8083", "--relay-drain=25h"}, "--relay-drain=25h0m0s: write a duration from 0s to 24h0m0s, for example --relay-drain=5m"},
		{"idle time too short", []string{"--relay-address=127.0.0.1:8083", "--relay-idle-timeout=9s"}, "--relay-idle-timeout=9s: write a duration from 10s to 24h0m0s, or 0s for none"},
		{"one port for two", []string{"--http-address=:8082", "--health-address=:8082"}, `--http-address and --health-address are both ":8082": give each its own port`},
		{"unknown flag", []string{"--addr=alpha:34308"}, "--addr is not a flag; refinery --help lists them"},
		{"no value", []string{"--id"}, "--id needs a value: write --id=ID"},
		{"positional argument", []string{"alpha:34308"}, `"alpha:34308" is not a flag: write every setting as --name=value; refinery --help lists them`},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"--address=alpha.plant.svc:34308", "--id=press", "--certificate-dir=" + directory, "--upstream-file=" + directory + "/upstream.json"}
			_, err := ParseFlags(append(args, test.args...))
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), directory, "DIR")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlagsFillTheConfig(t *testing.T) {
	directory := t.TempDir()
	minimal := []string{"--address=alpha.plant.svc:34308", "--id=press/a", "--certificate-dir=" + directory, "--upstream-file=" + directory + "/upstream.json"}
	defaults := Config{
		Settings:  masterfile.Settings{Address: "alpha.plant.svc:34308", AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second},
		Transport: MutualTLS, ID: "press/a", Type: "refinery", Version: version.Version,
		CertificateDir: directory, ReadinessGrace: graceOfTimeout, MaxBackoff: 30 * time.Second,
		UpstreamFile: directory + "/upstream.json", HTTPAddress: "127.0.0.1:8081", HealthAddress: ":8082",
		RelayMaxConnections: 1024, RelayDrain: 5 * time.Minute,
		Log: logging.Options{Level: logging.Info, Format: logging.JSON},
	}
	for _, test := range []struct {
		name string
		args []string
		edit func(*Config)
	}{
		{"defaults", nil, func(*Config) {}},
		{"plaintext needs no certificate directory", []string{"--transport=Plaintext", "--certificate-dir=", "--shared-certificate-file=" + directory + "/certificate"},
			func(c *Config) {
				c.Transport, c.CertificateDir, c.SharedCertificateFile = Plaintext, "", directory+"/certificate"
			}},
		{"nothing published", []string{"--upstream-file=", "--http-address=", "--health-address="},
			func(c *Config) { c.UpstreamFile, c.HTTPAddress, c.HealthAddress = "", "", "" }},
		{"a relay", []string{"--relay-address=127.0.0.1:8083", "--relay-max-connections=65536", "--relay-drain=0s", "--relay-idle-timeout=10s"},
			func(c *Config) {
				c.RelayAddress, c.RelayMaxConnections, c.RelayDrain, c.RelayIdleTimeout = "127.0.0.1:8083", 65536, 0, 10*time.Second
			}},
		{"the rest", []string{"--server-name=other", "--type=press", "--version=v1.2.3-rc.1", "--alive-interval=1s", "--alive-timeout=2s", "--readiness-grace=3s", "--max-backoff=100ms",
			"--log-level=debug", "--log-format=console", "--load-file=" + directory + "/load.json", "--load-cgroup=" + directory},
			func(c *Config) {
				c.ServerName, c.Type, c.Version = "other", "press", "v1.2.3-rc.1"
				c.AliveInterval, c.AliveTimeout, c.ReadinessGrace, c.MaxBackoff = time.Second, 2*time.Second, 3*time.Second, 100*time.Millisecond
				c.LoadFile, c.LoadCgroup = directory+"/load.json", directory
				c.Log = logging.Options{Level: logging.Debug, Format: logging.Console}
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := defaults
			test.edit(&want)
			got, err := ParseFlags(append(minimal, test.args...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHelpShowsEveryFlagOnceWithItsDefault(t *testing.T) {
	if _, err := ParseFlags([]string{"--help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	help := usage()
	var c Config
	newFlags(&c).VisitAll(func(f *flag.Flag) {
		if got := strings.Count(help, "  --"+f.Name+"="); got != 1 {
			t.Errorf("--%s is listed %d times, not once", f.Name, got)
		}
		if !strings.Contains(help, f.DefValue) {
			t.Errorf("--%s lacks its default %q", f.Name, f.DefValue)
		}
	})
	for line := range strings.Lines(help) {
		if len(line) > 101 {
			t.Errorf("too wide: %s", line)
		}
	}
}
