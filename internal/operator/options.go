// Package operator is the operator's process: its options, and the controller-runtime manager that
// runs the controllers.
package operator

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Options are the operator's configuration. ParseOptions makes valid ones.
type Options struct {
	// Images are what the operator runs.
	Images resource.Images
	// WatchNamespaces are the namespaces whose CRs are reconciled, sorted. None: all.
	WatchNamespaces []string
	// LeaderElect holds a Lease, so that one of several operators works.
	LeaderElect bool
	// LeaderElectionNamespace of the Lease. Empty: the operator's own.
	LeaderElectionNamespace string
	// HealthAddress serves /healthz and /readyz; MetricsAddress serves /metrics over HTTPS to those the API
	// server lets. "0" turns one off.
	HealthAddress, MetricsAddress string
	// Kubeconfig is a file. Empty: KUBECONFIG, then in the cluster, then ~/.kube/config.
	Kubeconfig string
	// LogLevel and LogFormat of the log on standard error.
	LogLevel  zapcore.Level
	LogFormat string
}

const (
	logJSON    = "json"
	logConsole = "console"
)

const usageHead = `The operator of Cluster Protocol masters and refineries: it reconciles ClusterMasters and
Refineries (cluster.refinery.dev) into Secrets, ServiceAccounts, RBAC, Services and Deployments.

Usage: operator --master-image=IMAGE --refinery-image=IMAGE [flags]

`

// ErrHelp is returned by ParseOptions for --help; Usage has the text.
var ErrHelp = flag.ErrHelp

// ParseOptions reads command-line arguments. An error is one line.
func ParseOptions(arguments []string) (Options, error) {
	o, raw := Options{}, rawOptions{}
	flags := newFlags(&o, &raw)
	if err := flags.Parse(arguments); err != nil {
		return Options{}, err
	}
	if flags.NArg() > 0 {
		return Options{}, fmt.Errorf("unexpected argument %q: flags are written --name=value; see --help", flags.Arg(0))
	}
	return o, raw.complete(&o)
}

// Usage is the text of --help.
func Usage() string {
	var text bytes.Buffer
	text.WriteString(usageHead)
	newFlags(&Options{}, &rawOptions{}).VisitAll(func(f *flag.Flag) {
		value, description := flag.UnquoteUsage(f)
		if value != "" {
			value = "=" + strings.ToUpper(value)
		}
		fmt.Fprintf(&text, "  --%s%s\n        %s", f.Name, value, strings.ReplaceAll(description, "\n", "\n        "))
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(&text, " (default %s)", f.DefValue)
		}
		text.WriteString("\n")
	})
	return text.String()
}

// rawOptions are flags that need checking beyond their form.
type rawOptions struct{ pullPolicy, watchNamespaces, logLevel string }

func newFlags(o *Options, raw *rawOptions) *flag.FlagSet {
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	flags.SetOutput(&bytes.Buffer{}) // the caller prints the error, once
	flags.StringVar(&o.Images.Master, "master-image", "", "container `image` of master pods. Required.")
	flags.StringVar(&o.Images.Refinery, "refinery-image", "", "container `image` of the refinery agent. Required.")
	flags.StringVar(&raw.pullPolicy, "image-pull-policy", string(corev1.PullIfNotPresent), "pull `policy` of both images: Always, IfNotPresent or Never")
	flags.StringVar(&raw.watchNamespaces, "watch-namespaces", "", "comma-separated `namespaces` to work in.\nWithout it the operator works in all of them.")
	flags.BoolVar(&o.LeaderElect, "leader-elect", false, "hold a Lease, so that of several operators one works and the others stand by")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the Lease. In a cluster: the operator's own.")
	flags.StringVar(&o.HealthAddress, "health-address", ":8081", "`address` of /healthz and /readyz; 0 turns them off")
	flags.StringVar(&o.MetricsAddress, "metrics-address", ":8443", "`address` of /metrics, served over HTTPS to those whom the API server\nlets get the URL /metrics; 0 turns it off")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig `file` for running outside of a cluster.\nWithout it: $KUBECONFIG, in a cluster its ServiceAccount, ~/.kube/config.")
	flags.StringVar(&raw.logLevel, "log-level", "info", "`level` of the log on standard error: debug, info or error")
	flags.StringVar(&o.LogFormat, "log-format", logJSON, "`format` of the log: json or console")
	return flags
}

func (raw rawOptions) complete(o *Options) error {
	if o.Images.Master == "" || o.Images.Refinery == "" {
		return errors.New("--master-image and --refinery-image are required; see --help")
	}
	o.Images.PullPolicy = corev1.PullPolicy(raw.pullPolicy)
	if !slices.Contains([]corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}, o.Images.PullPolicy) {
		return fmt.Errorf("--image-pull-policy=%s: must be Always, IfNotPresent or Never", raw.pullPolicy)
	}
	levels := map[string]zapcore.Level{"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "error": zapcore.ErrorLevel}
	level, ok := levels[raw.logLevel]
	if !ok {
		return fmt.Errorf("--log-level=%s: must be debug, info or error", raw.logLevel)
	}
	o.LogLevel = level
	if o.LogFormat != logJSON && o.LogFormat != logConsole {
		return fmt.Errorf("--log-format=%s: must be json or console", o.LogFormat)
	}
	for _, address := range []struct{ flag, value string }{{"health-address", o.HealthAddress}, {"metrics-address", o.MetricsAddress}} {
		if _, _, err := net.SplitHostPort(address.value); address.value != "0" && err != nil {
			return fmt.Errorf("--%s=%s: must be host:port, :port or 0", address.flag, address.value)
		}
	}
	return raw.completeNamespaces(o)
}

func (raw rawOptions) completeNamespaces(o *Options) error {
	for namespace := range strings.SplitSeq(raw.watchNamespaces, ",") {
		if namespace = strings.TrimSpace(namespace); namespace == "" {
			continue
		}
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--watch-namespaces: %q is no name of a namespace: %s", namespace, problems[0])
		}
		o.WatchNamespaces = append(o.WatchNamespaces, namespace)
	}
	slices.Sort(o.WatchNamespaces)
	o.WatchNamespaces = slices.Compact(o.WatchNamespaces)
	return nil
}
