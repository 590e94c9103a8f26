// Package operator is the operator's process: its options, and the controller-runtime manager that
// runs the controllers.
package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Options are the operator's configuration. ParseOptions makes valid ones.
type Options struct {
	// Images are what the operator runs.
	Images resource.Images
	// WatchNamespaces are the namespaces whose CRs are reconciled, sorted. None: all.
	WatchNamespaces []string
	// Issuers are those of cert-manager that a ClusterMaster may name.
	Issuers certificates.AllowedIssuers
	// SecretAnnotations are those that a ClusterMaster or Refinery may have put on its Secrets.
	SecretAnnotations []string
	// Labels are put on what the operator writes for itself: its Leases and the Secret with the key of its marks.
	Labels map[string]string
	// ClusterDomain is the DNS domain of the cluster's Services.
	ClusterDomain string
	// Release is what this operator is one of. The zero value: of none, so that it works beside any other.
	Release Release
	// HealthAddress serves /healthz and /readyz; MetricsAddress serves /metrics over HTTPS to clients that the API server
	// authorizes. "0" turns one off.
	HealthAddress, MetricsAddress string
	// Kubeconfig is a file. Empty: KUBECONFIG, then in the cluster, then ~/.kube/config.
	Kubeconfig string
	// Log is written to standard error.
	Log logging.Options
}

// maxClusterDomain leaves room for the longest name and namespace of a Service before it (RFC 1035, section 2.3.4: 255 octets).
const maxClusterDomain = 128

// Release is an installation of the operator: where, and by what name. One of its operators is elected to work, and where
// another release works it does not.
type Release struct{ Namespace, Name string }

// String returns NAMESPACE/NAME, "" for the zero value.
func (r Release) String() string {
	if r == (Release{}) {
		return ""
	}
	return r.Namespace + "/" + r.Name
}

// markKeySuffix follows the name of a release in the name of the Secret with the key of its marks.
const markKeySuffix = ".mark-key"

// markKey names the Secret with the key of the marks by which the operator recognizes what it wrote.
func (r Release) markKey() client.ObjectKey {
	return client.ObjectKey{Namespace: r.Namespace, Name: r.Name + markKeySuffix}
}

const introduction = `operator reconciles ClusterMasters and Refineries (cluster.refinery.dev) into Secrets,
ServiceAccounts, RBAC, Services and Deployments.

  operator --master-image=IMAGE --refinery-image=IMAGE [flags]
`

// ParseOptions reads the command line (without the program's name). flag.ErrHelp: help was asked for. Any other error is one
// line that names the flag and says what to write.
func ParseOptions(args []string) (Options, error) {
	var o Options
	if err := newFlags(&o).Parse(args); err != nil {
		return Options{}, err
	}
	return o, o.validate()
}

// usage is the text of --help.
func usage() string { return introduction + newFlags(&Options{}).Help() }

func newFlags(o *Options) *cli.Flags {
	f := cli.New("operator")
	o.Issuers, _ = certificates.ParseAllowedIssuers(certificates.DefaultAllowedIssuers) // a constant, which is read in a test
	f.Group("The images")
	f.StringVar(&o.Images.Master, "master-image", "", "`IMAGE` container image of the masters; required")
	f.StringVar(&o.Images.Refinery, "refinery-image", "", "`IMAGE` container image of the refinery agent; required")
	cli.Choice(f, &o.Images.PullPolicy, "image-pull-policy", corev1.PullIfNotPresent,
		"`POLICY` when both are pulled: Always, IfNotPresent or Never", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	f.Func("image-pull-secrets", "`NAMES` Secrets with which these are pulled, in the namespace of each ClusterMaster and Refinery, separated by commas; not given: none",
		o.setPullSecrets)
	f.Group("The cluster")
	f.Func("watch-namespaces", "`NAMESPACES` namespaces to work in, separated by commas; not given: all", o.setNamespaces)
	f.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"`FILE` kubeconfig, for running outside of a cluster; not given: $KUBECONFIG, then the pod's ServiceAccount, then ~/.kube/config")
	f.StringVar(&o.ClusterDomain, "cluster-domain", resource.DefaultClusterDomain, "`DOMAIN` DNS domain of the cluster's Services, for the names in certificates of masters")
	f.Func("allowed-issuers", "`PATTERNS` issuers of cert-manager that a ClusterMaster may name, as KIND/NAME or KIND.GROUP/NAME, separated by commas, "+
		"with '*' for any part of a name; not given: "+certificates.DefaultAllowedIssuers, o.setIssuers)
	f.Func("secret-annotations", "`KEYS` annotations of spec.commonMetadata that are put on Secrets too, separated by commas; not given: none", o.setSecretAnnotations)
	f.Func("labels", "`LABELS` labels of the operator's own Leases and Secret, as KEY=VALUE, separated by commas; not given: none", o.setLabels)
	f.Group("Several operators")
	f.Func("release", "`NAMESPACE/NAME` the release that this operator is one of: one of them works and the others stand by, and none works where "+
		"another release does; not given: it works beside any other, for development", o.setRelease)
	f.Group("Probes, metrics and log")
	f.StringVar(&o.HealthAddress, "health-address", ":8081", "`HOST:PORT` where /healthz and /readyz are served; 0: nowhere")
	f.StringVar(&o.MetricsAddress, "metrics-address", ":8443",
		"`HOST:PORT` where /metrics is served, over HTTPS, to those whom the API server lets get the URL /metrics; 0: nowhere")
	o.Log.Bind(f)
	return f
}

// setRelease takes NAMESPACE/NAME.
func (o *Options) setRelease(value string) error {
	namespace, name, _ := strings.Cut(value, "/")
	for _, part := range []string{namespace, name} {
		if problems := validation.IsDNS1123Label(part); len(problems) > 0 {
			return fmt.Errorf("write NAMESPACE/NAME; %q is not a valid name: %s", part, problems[0])
		}
	}
	o.Release = Release{Namespace: namespace, Name: name}
	return nil
}

// setIssuers takes patterns separated by commas.
func (o *Options) setIssuers(value string) (err error) {
	o.Issuers, err = certificates.ParseAllowedIssuers(value)
	return err
}

// setPullSecrets takes names separated by commas.
func (o *Options) setPullSecrets(value string) (err error) {
	o.Images.PullSecrets, err = parseNames(value, "name of a Secret", validation.IsDNS1123Subdomain)
	return err
}

// setSecretAnnotations takes keys separated by commas.
func (o *Options) setSecretAnnotations(value string) (err error) {
	o.SecretAnnotations, err = parseNames(value, "key of an annotation", validation.IsQualifiedName)
	return err
}

// setLabels takes KEY=VALUE separated by commas.
func (o *Options) setLabels(value string) (err error) {
	o.Labels, err = labels.ConvertSelectorToLabelsMap(value)
	return err
}

// setNamespaces takes namespaces separated by commas.
func (o *Options) setNamespaces(value string) (err error) {
	o.WatchNamespaces, err = parseNames(value, "namespace", validation.IsDNS1123Label)
	return err
}

// parseNames takes names of a kind separated by commas, and returns them sorted and each once.
func parseNames(value, kind string, problemsOf func(string) []string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if problems := problemsOf(name); len(problems) > 0 {
			return nil, fmt.Errorf("%q is not a valid %s: %s", name, kind, problems[0])
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// validate checks what the flags do not check by themselves.
func (o *Options) validate() error {
	if o.Images.Master == "" || o.Images.Refinery == "" {
		return errors.New("--master-image and --refinery-image are required; operator --help lists all flags")
	}
	if problems := validation.IsDNS1123Subdomain(o.ClusterDomain); len(problems) > 0 || len(o.ClusterDomain) > maxClusterDomain {
		return fmt.Errorf("--cluster-domain=%.300s: write the DNS domain of Services, of at most %d characters, for example %s",
			o.ClusterDomain, maxClusterDomain, resource.DefaultClusterDomain)
	}
	for _, address := range []struct{ flag, value string }{{"health-address", o.HealthAddress}, {"metrics-address", o.MetricsAddress}} {
		if address.value == "0" {
			continue
		}
		if _, err := cli.SplitHostPort(address.value, 0); err != nil {
			return fmt.Errorf("--%s=%s: %w; write host:port, :port or 0", address.flag, address.value, err)
		}
	}
	return nil
}
