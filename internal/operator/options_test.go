package operator

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

var required = []string{"--master-image=m", "--refinery-image=r"}

var compareIssuers = cmp.Transformer("issuers", certificates.AllowedIssuers.String)

func issuers(t *testing.T, patterns string) certificates.AllowedIssuers {
	t.Helper()
	allowed, err := certificates.ParseAllowedIssuers(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return allowed
}

func TestOptionsHaveDefaults(t *testing.T) {
	got, err := ParseOptions(required)
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		Images: resource.Images{Master: "m", Refinery: "r", PullPolicy: corev1.PullIfNotPresent}, Issuers: issuers(t, "Issuer/*"), ClusterDomain: "cluster.local",
		HealthAddress: ":8081", MetricsAddress: ":8443", Log: logging.Options{Level: logging.Info, Format: logging.JSON},
	}
	if diff := cmp.Diff(want, got, compareIssuers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOptionsTakeEveryFlag(t *testing.T) {
	got, err := ParseOptions(append([]string{"--image-pull-policy=Never", "--image-pull-secrets=b, a,,b", "--watch-namespaces=b, a,,b", "--cluster-domain=plant.test", "--secret-annotations=example.com/b, a", "--labels=team=red,example.com/stage=1", "--allowed-issuers=ClusterIssuer/plant-*, StepIssuer.certmanager.step.sm/a", "--release=n/r",
		"--health-address=0", "--metrics-address=127.0.0.1:1", "--kubeconfig=k", "--log-level=debug", "--log-format=console"}, required...))
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		Images:  resource.Images{Master: "m", Refinery: "r", PullPolicy: corev1.PullNever, PullSecrets: []string{"a", "b"}},
		Issuers: issuers(t, "ClusterIssuer/plant-*,StepIssuer.certmanager.step.sm/a"), ClusterDomain: "plant.test",
		SecretAnnotations: []string{"a", "example.com/b"}, Labels: map[string]string{"team": "red", "example.com/stage": "1"},
		WatchNamespaces: []string{"a", "b"}, Release: Release{Namespace: "n", Name: "r"},
		HealthAddress: "0", MetricsAddress: "127.0.0.1:1", Kubeconfig: "k", Log: logging.Options{Level: logging.Debug, Format: logging.Console},
	}
	if diff := cmp.Diff(want, got, compareIssuers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongUseIsOneLineAndExitCode2(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	tests := map[string]struct {
		arguments []string
		words     string
	}{
		"no images":       {nil, "--master-image and --refinery-image are required"},
		"unknown flag":    {[]string{"--nonsense"}, "--nonsense is not a flag; operator --help lists them"},
		"argument":        {append(required, "start"), `"start" is not a flag: write every setting as --name=value`},
		"pull policy":     {append(required, "--image-pull-policy=Sometimes"), "--image-pull-policy=Sometimes: write Always, IfNotPresent or Never"},
		"log level":       {append(required, "--log-level=loud"), "--log-level=loud: write debug, info, warn or error"},
		"log format":      {append(required, "--log-format=xml"), "--log-format=xml: write json or console"},
		"address":         {append(required, "--health-address=8081"), "--health-address=8081: it is not host:port; write host:port, :port or 0"},
		"namespace":       {append(required, "--watch-namespaces=A"), `--watch-namespaces=A: "A" is not a valid namespace`},
		"pull secrets":    {append(required, "--image-pull-secrets=A"), `--image-pull-secrets=A: "A" is not a valid name of a Secret`},
		"labels":          {append(required, "--labels=team"), `--labels=team: `},
		"annotations":     {append(required, "--secret-annotations=a/b/c"), `--secret-annotations=a/b/c: "a/b/c" is not a valid key of an annotation`},
		"issuers":         {append(required, "--allowed-issuers=plant"), `--allowed-issuers=plant: "plant" is not a valid pattern: write KIND/NAME or KIND.GROUP/NAME, for example Issuer/*`},
		"cluster domain":  {append(required, "--cluster-domain=.local"), "--cluster-domain=.local: write the DNS domain of Services, of at most 128 characters, for example cluster.local"},
		"long domain":     {append(required, "--cluster-domain="+strings.Repeat("a.", 64)+"a"), "of at most 128 characters"},
		"release":         {append(required, "--release=n"), `--release=n: write NAMESPACE/NAME; "" is not a valid name`},
		"no cluster":      {required, "no cluster: not running in one, and there is no kubeconfig"},
		"no kubeconfig":   {append(required, "--kubeconfig=/does/not/exist"), "no cluster: stat /does/not/exist"},
		"help is no line": {[]string{"--help"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(context.Background(), test.arguments, &stdout, &stderr)
			if test.words == "" {
				if code != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), "--master-image=IMAGE") {
					t.Errorf("exit %d, stdout %q, stderr %q", code, &stdout, &stderr)
				}
				return
			}
			got := stderr.String()
			if code != 2 || strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "operator: ") || !strings.Contains(got, test.words) {
				t.Errorf("exit %d, stderr %q; want one line with %q and exit 2", code, got, test.words)
			}
		})
	}
}
