package master

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
)

// Options are the flags of a master. It reads everything else from its ClusterMaster while it runs.
type Options struct {
	// Namespace and Name of the ClusterMaster.
	Namespace, Name string
	// PodName is who this process is in the Lease and in status.
	PodName string
	// CertificateDirectory holds tls.crt, tls.key and ca.crt; "" for none (Plaintext).
	CertificateDirectory string
	// SharedCertificateFile holds the bearer secret of SharedCertificate; "" for none.
	SharedCertificateFile string
	// Listen is the address of the Cluster Protocol, HealthAddress that of /healthz, /readyz and /metrics.
	Listen, HealthAddress string
	// Kubeconfig is a file; "" for KUBECONFIG, then the Pod's own ServiceAccount, then ~/.kube/config.
	Kubeconfig string
	// Debug logs every session.
	Debug bool
}

const usage = `master speaks the Cluster Protocol for one ClusterMaster: it authenticates the nodes of the Refineries that
name it, tells them their upstream, and writes what it sees into their status. The operator starts it; by hand:

  master --namespace=plant --name=alpha --pod-name=by-hand --certificate-dir=./tls

Flags:
`

// parseOptions reads the command line. After --help, for which it prints usage to help, its error is flag.ErrHelp.
func parseOptions(args []string, help io.Writer) (Options, error) {
	var o Options
	fs := flag.NewFlagSet("master", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&o.Namespace, "namespace", "", "`namespace` of the ClusterMaster (required)")
	fs.StringVar(&o.Name, "name", "", "`name` of the ClusterMaster (required)")
	fs.StringVar(&o.PodName, "pod-name", "", "`name` of this pod, by which the Lease and status know this process (required)")
	fs.StringVar(&o.CertificateDirectory, "certificate-dir", "", "`directory` with tls.crt, tls.key and ca.crt, read again when it changes")
	fs.StringVar(&o.SharedCertificateFile, "shared-certificate-file", "", "`file` with the shared certificate, for authentication SharedCertificate")
	fs.StringVar(&o.Listen, "listen", ":34308", "`address` of the Cluster Protocol; bound while this master is active")
	fs.StringVar(&o.HealthAddress, "health-address", ":8080", "`address` of /healthz, /readyz and /metrics")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file`; default: $KUBECONFIG, the pod's ServiceAccount, or ~/.kube/config")
	fs.BoolVar(&o.Debug, "debug", false, "log every session that begins and ends")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(help, usage)
			fs.SetOutput(help)
			fs.PrintDefaults()
		}
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is a flag, see --help", fs.Arg(0))
	}
	return o, o.Validate()
}

// Validate says what is wrong, in one line.
func (o Options) Validate() error {
	var problems []string
	for _, required := range []struct{ flag, value string }{
		{"--namespace", o.Namespace}, {"--name", o.Name}, {"--pod-name", o.PodName},
	} {
		if required.value == "" {
			problems = append(problems, required.flag+" is required")
		} else if p := content.IsDNS1123Subdomain(required.value); len(p) > 0 {
			problems = append(problems, fmt.Sprintf("%s %q is not a valid object name", required.flag, required.value))
		}
	}
	for _, address := range []struct{ flag, value string }{{"--listen", o.Listen}, {"--health-address", o.HealthAddress}} {
		_, port, err := net.SplitHostPort(address.value)
		if number, parseErr := strconv.ParseUint(port, 10, 16); err != nil || parseErr != nil || number == 0 {
			problems = append(problems, fmt.Sprintf("%s %q is not a valid address; it looks like :34308", address.flag, address.value))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; ") + "; see --help")
	}
	return nil
}
