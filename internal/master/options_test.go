package master

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestOptions(t *testing.T) {
	needed := []string{"--namespace=plant", "--name=alpha", "--pod-name=alpha-0"}
	defaults := Options{Namespace: "plant", Name: "alpha", PodName: "alpha-0", Listen: ":34308", HealthAddress: ":8080", PeerListen: ":34309",
		Log: logging.Options{Level: logging.Info, Format: logging.JSON}}
	tests := []struct {
		name string
		args []string
		err  string
	}{
		{"the defaults", needed, ""},
		{"nothing", nil, "--namespace is required; --name is required; --pod-name is required; see --help"},
		{"an unknown flag", append(needed, "--speed=9"), "--speed is not a flag; master --help lists them"},
		{"an argument", append(needed, "now"), `"now" is not a flag: write every setting as --name=value; master --help lists them`},
		{"a name that is none", append(needed, "--name=Alpha Beta"), `--name "Alpha Beta" is not a valid object name; see --help`},
		{"an address without a port", append(needed, "--listen=34308"), `--listen "34308" is not a valid address; it looks like :34308; see --help`},
		{"an address of the pod that is none", append(needed, "--pod-ips=10.1.0.7,fd00::zz"), `--pod-ips=10.1.0.7,fd00::zz: "fd00::zz" is not an IP address`},
		{"a switch that is neither on nor off", append(needed, "--debug=loud"), `--debug=loud: write true or false`},
		{"a port that is none", append(needed, "--health-address=:99999"), `--health-address ":99999" is not a valid address; it looks like :34308; see --help`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, err := parseOptions(test.args, io.Discard)
			if err == nil {
				err = errors.New("")
				if diff := cmp.Diff(defaults, o); diff != "" {
					t.Errorf("options (-want +got):\n%s", diff)
				}
			}
			if err.Error() != test.err {
				t.Errorf("got %q", err)
			}
		})
	}
	for argument, want := range map[string]logging.Level{"--debug": logging.Debug, "--debug=true": logging.Debug, "--debug=false": logging.Info} {
		if o, err := parseOptions(append(needed, argument), io.Discard); err != nil || o.Log.Level != want {
			t.Errorf("%s: %v, %+v", argument, err, o.Log)
		}
	}
	var help bytes.Buffer
	if _, err := parseOptions([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-certificate-dir") {
		t.Errorf("%v, help: %s", err, &help)
	}
}

func TestWithoutFlagsOrClusterTheCommandSaysSoInOneLine(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent/kubeconfig")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	needed := []string{"--namespace=plant", "--name=alpha", "--pod-name=alpha-0"}
	for name, args := range map[string][]string{
		"no flags": nil, "wrong flag": {"--speed=9"}, "no kubeconfig": append(needed, "--kubeconfig=/nonexistent"), "no cluster": needed,
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(context.Background(), args, &stdout, &stderr)
			if lines := strings.Count(stderr.String(), "\n"); code != 2 || lines != 1 || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "master: ") {
				t.Errorf("exit %d, stderr %q, stdout %q", code, &stderr, &stdout)
			}
		})
	}
}

func TestServiceAndProtocolHaveOnePort(t *testing.T) {
	if v1alpha1.DefaultPort != protocol.DefaultPort {
		t.Errorf("spec.service.port is %d by default, the protocol's port is %d", v1alpha1.DefaultPort, protocol.DefaultPort)
	}
}
