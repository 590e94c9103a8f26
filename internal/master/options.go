package master

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/logging"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// Options are the flags of a master. It reads everything else from its ClusterMaster while it runs.
type Options struct {
	// Namespace and Name of the ClusterMaster.
	Namespace, Name string
	// PodName is who this process is in the Lease and in status.
	PodName string
	// PodIPs are the addresses of this pod, by which it is the endpoint of the Service while it is active; none to leave the
	// Service alone. NodeName is the Kubernetes node that the pod runs on; "" if unknown.
	PodIPs   []string
	NodeName string
	// CertificateDirectory holds tls.crt, tls.key and ca.crt; "" for none (Plaintext).
	CertificateDirectory string
	// SharedCertificateFile holds the bearer secret of SharedCertificate; "" for none.
	SharedCertificateFile string
	// Listen is the address of the Cluster Protocol, HealthAddress that of /healthz, /readyz and /metrics.
	Listen, HealthAddress string
	// ProxyListen is the address of the Cluster Protocol behind a header of the PROXY protocol; "" for none.
	ProxyListen string
	// Peers are where all masters of the ClusterMaster are found, as host:port; none for a master that has no link to others.
	Peers []string
	// PeerListen is the address of the link, PeerCertificateDirectory has its key pair.
	PeerListen, PeerCertificateDirectory string
	// Kubeconfig is a file; "" for KUBECONFIG, then the Pod's own ServiceAccount, then ~/.kube/config.
	Kubeconfig string
	// Log is written to standard error. Level debug has every session that begins and ends.
	Log logging.Options
}

const usage = `master speaks the Cluster Protocol for one ClusterMaster: it authenticates the nodes of its Refineries,
tells them their upstream, and writes what it sees into the status of both. The operator starts it; by hand:

  master --namespace=plant --name=alpha --pod-name=by-hand --certificate-dir=./tls
`

func newFlags(o *Options) *cli.Flags {
	f := cli.New("master")
	f.Group("The ClusterMaster")
	f.StringVar(&o.Namespace, "namespace", "", "`NAMESPACE` namespace of the ClusterMaster; required")
	f.StringVar(&o.Name, "name", "", "`NAME` name of the ClusterMaster; required")
	f.StringVar(&o.PodName, "pod-name", "", "`NAME` name of this pod, which identifies the process in the Lease and in status; required")
	f.Func("pod-ips", "`IP,...` addresses of this pod, one a family, by which it is the endpoint of the Service while it is active; not given: the Service is left alone", func(value string) error {
		o.PodIPs = strings.Split(value, ",")
		for _, ip := range o.PodIPs {
			if _, err := netip.ParseAddr(ip); err != nil {
				return fmt.Errorf("%q is not an IP address", ip)
			}
		}
		return nil
	})
	f.StringVar(&o.NodeName, "node-name", "", "`NAME` Kubernetes node that this pod runs on, for a Service with externalTrafficPolicy Local")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"`FILE` kubeconfig, for running outside of a cluster; not given: $KUBECONFIG, then the pod's ServiceAccount, then ~/.kube/config")
	f.Group("Certificates, which are read again whenever they change")
	f.StringVar(&o.CertificateDirectory, "certificate-dir", "", "`DIRECTORY` directory with tls.crt, tls.key and ca.crt")
	f.StringVar(&o.SharedCertificateFile, "shared-certificate-file", "", "`FILE` file with the shared certificate, for authentication SharedCertificate")
	f.Group("The other masters, with which this one agrees while the API server is away")
	f.Func("peers", "`HOST:PORT,...` where all masters of the ClusterMaster are found; a name stands for all its IP addresses", func(value string) error {
		o.Peers = strings.Split(value, ",")
		return nil
	})
	f.StringVar(&o.PeerListen, "peer-listen", fmt.Sprintf(":%d", v1alpha1.PeerPort), "`HOST:PORT` where the other masters are answered")
	f.StringVar(&o.PeerCertificateDirectory, "peer-certificate-dir", "", "`DIRECTORY` directory with tls.crt and tls.key, the same for all masters of the ClusterMaster")
	f.Group("Addresses and log")
	f.StringVar(&o.Listen, "listen", fmt.Sprintf(":%d", protocol.DefaultPort), "`HOST:PORT` where the Cluster Protocol is served, while this master is the active one")
	f.StringVar(&o.ProxyListen, "proxy-listen", "", "`HOST:PORT` where it is served to load balancers in spec.service.proxyProtocol.trustedNetworks, each connection behind a header of the PROXY protocol; not given: nowhere")
	f.StringVar(&o.HealthAddress, "health-address", ":8080", "`HOST:PORT` where /healthz, /readyz and /metrics are served")
	o.Log.Bind(f)
	f.BoolFunc("debug", "the same as --log-level=debug", func(value string) error {
		debug, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("write true or false")
		}
		if debug {
			o.Log.Level = logging.Debug
		}
		return nil
	})
	return f
}

// parseOptions reads the command line. After --help, for which it prints usage to help, its error is flag.ErrHelp.
func parseOptions(args []string, help io.Writer) (Options, error) {
	var o Options
	if err := newFlags(&o).Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(help, usage+newFlags(&Options{}).Help())
		}
		return o, err
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
	addresses := []struct{ flag, value string }{{"--listen", o.Listen}, {"--health-address", o.HealthAddress}}
	if len(o.Peers) > 0 {
		addresses = append(addresses, struct{ flag, value string }{"--peer-listen", o.PeerListen})
		if o.PeerCertificateDirectory == "" {
			problems = append(problems, "--peers needs --peer-certificate-dir")
		}
	}
	if o.ProxyListen != "" {
		addresses = append(addresses, struct{ flag, value string }{"--proxy-listen", o.ProxyListen})
	}
	for _, peer := range o.Peers {
		addresses = append(addresses, struct{ flag, value string }{"--peers", peer})
	}
	for _, address := range addresses {
		if _, err := cli.SplitHostPort(address.value, 1); err != nil {
			problems = append(problems, fmt.Sprintf("%s %q is not a valid address; it looks like :34308", address.flag, address.value))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; ") + "; see --help")
	}
	return nil
}
