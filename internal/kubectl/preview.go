package kubectl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/master"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// requestTimeout bounds everything that is asked of the API server.
const requestTimeout = 30 * time.Second

// Main is the command. args are those behind the program's name. It returns the exit code: 0 when nobody would be
// refused, 1 when somebody would be or may be, 2 when it cannot be told; then one line on stderr says why.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var refusals []master.Refusal
	if err == nil {
		refusals, err = o.preview(ctx, stdin)
	}
	if err == nil {
		err = o.print(stdout, refusals)
	}
	switch {
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "kubectl refinery: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return 2
	case len(refusals) > 0:
		return 1
	}
	return 0
}

func (o *options) preview(ctx context.Context, stdin io.Reader) ([]master.Refusal, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	view := &view{Client: c, namespace: o.namespace}
	files, err := readManifests(o.files, stdin)
	if err != nil {
		return nil, err
	}
	before := &v1alpha1.ClusterMaster{}
	if err := view.get(ctx, o.master, before); err != nil {
		return nil, fmt.Errorf("read ClusterMaster %s in namespace %s: %w", o.master, o.namespace, err)
	}
	after, err := o.proposed(ctx, view, before, files)
	if err != nil {
		return nil, err
	}
	p := &master.Proposal{Before: before, After: after, Clock: clock.RealClock{}}
	var list v1alpha1.RefineryList
	if err := c.List(ctx, &list, client.InNamespace(o.namespace), client.MatchingFields{"spec.masterRef.name": o.master}); err != nil {
		return nil, fmt.Errorf("list the Refineries of ClusterMaster %s: %w", o.master, err)
	}
	p.Refineries = list.Items
	slices.SortFunc(p.Refineries, func(a, b v1alpha1.Refinery) int { return strings.Compare(a.Name, b.Name) })
	if p.Anchors, err = o.anchors(ctx, view, before, after, files); err == nil && p.Anchors != nil {
		p.Chains, err = view.chains(ctx, p.Refineries)
	}
	if err != nil {
		return nil, err
	}
	return p.Preview(), nil
}

func (o *options) connect() (client.Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context})
	config, err := loaded.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster: %w", err)
	}
	if o.namespace == "" {
		if o.namespace, _, err = loaded.Namespace(); err != nil {
			return nil, fmt.Errorf("no namespace: %w", err)
		}
	}
	config.UserAgent = "kubectl-refinery/" + version.Version
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// proposed is the ClusterMaster as it would be. The API server fills in its defaults, and refuses what it would refuse.
func (o *options) proposed(ctx context.Context, v *view, before *v1alpha1.ClusterMaster, files manifests) (*v1alpha1.ClusterMaster, error) {
	after := before.DeepCopy()
	if m := files.master; m != nil {
		if m.Name != before.Name || (m.Namespace != "" && m.Namespace != before.Namespace) {
			return nil, fmt.Errorf("the file holds ClusterMaster %s/%s, and the preview is of %s/%s", m.Namespace, m.Name, before.Namespace, before.Name)
		}
		after.Spec = m.Spec
	}
	if o.versions != nil {
		after.Spec.Protocol.AcceptedVersions = *o.versions
	}
	if o.types != nil {
		after.Spec.Protocol.AcceptedTypes = strings.Split(*o.types, ",")
	}
	if err := v.Update(ctx, after, client.DryRunAll); err != nil {
		return nil, fmt.Errorf("the API server would refuse the change: %w", err)
	}
	return after, nil
}

// anchors is the trust bundle as it would be, or nil if it stays.
func (o *options) anchors(ctx context.Context, v *view, before, after *v1alpha1.ClusterMaster, files manifests) ([]*x509.Certificate, error) {
	named, ok := authoritySecret(after)
	was, _ := authoritySecret(before)
	var next []*x509.Certificate
	var err error
	switch file := files.secrets[named]; {
	case ok && file != nil:
		next, err = pki.ParseCertificates(corev1.TLSCertKey, file.Data[corev1.TLSCertKey])
	case ok && named != was:
		next, err = v.certificates(ctx, named, corev1.TLSCertKey)
	case len(files.secrets) > 0:
		return nil, fmt.Errorf("ClusterMaster %s uses none of the Secrets in the files as its authority (spec.certificates.authority.secretRef)", after.Name)
	case len(o.without) == 0:
		return nil, nil
	default:
		next, err = v.certificates(ctx, after.CertificateSecretName(), v1alpha1.AuthorityKey)
	}
	if err != nil {
		return nil, err
	}
	for _, prefix := range o.without {
		rest := slices.DeleteFunc(slices.Clone(next), func(c *x509.Certificate) bool { return strings.HasPrefix(v1alpha1.Fingerprint(c), prefix) })
		if len(rest) == len(next) {
			return nil, fmt.Errorf("no authority in the trust bundle has a fingerprint that begins with %s; there are %s", prefix, describe(next))
		}
		next = rest
	}
	return next, nil
}

// authoritySecret is the Secret of an authority that is brought.
func authoritySecret(m *v1alpha1.ClusterMaster) (string, bool) {
	if c := m.Spec.Certificates; c != nil && c.Authority != nil {
		return c.Authority.SecretRef.Name, true
	}
	return "", false
}

func describe(anchors []*x509.Certificate) string {
	words := make([]string, len(anchors))
	for i, c := range anchors {
		words[i] = fmt.Sprintf("%s (%q)", v1alpha1.Fingerprint(c), c.Subject.String())
	}
	return strings.Join(words, ", ")
}

// view reads one namespace.
type view struct {
	client.Client
	namespace string
}

func (v *view) get(ctx context.Context, name string, object client.Object) error {
	return v.Get(ctx, client.ObjectKey{Namespace: v.namespace, Name: name}, object)
}

func (v *view) certificates(ctx context.Context, secret, key string) ([]*x509.Certificate, error) {
	found := &corev1.Secret{}
	if err := v.get(ctx, secret, found); err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", secret, err)
	}
	certificates, err := pki.ParseCertificates(key, found.Data[key])
	if err != nil {
		return nil, fmt.Errorf("Secret %s: %w", secret, err) //nolint:staticcheck // a kind's name
	}
	return certificates, nil
}

// chains are the certificates in the Secrets of Refineries, by fingerprint. What is missing or no good is left out.
func (v *view) chains(ctx context.Context, refineries []v1alpha1.Refinery) (map[string][]*x509.Certificate, error) {
	chains := map[string][]*x509.Certificate{}
	for i := range refineries {
		chain, err := v.certificates(ctx, refineries[i].CertificateSecretName(), corev1.TLSCertKey)
		switch {
		case err == nil:
			chains[v1alpha1.Fingerprint(chain[0])] = chain
		case !apierrors.IsNotFound(err) && pki.AsProblem(err) == nil:
			return nil, err
		}
	}
	return chains, nil
}

func (o *options) print(w io.Writer, refusals []master.Refusal) error {
	if o.output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(append([]master.Refusal{}, refusals...))
	}
	if len(refusals) == 0 {
		_, err := fmt.Fprintln(w, "Every node that is authenticated now would be let in.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "REFINERY\tNODE\tWHEN\tREASON\tMESSAGE")
	for _, r := range refusals {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Refinery, orDash(r.Node), r.When, orDash(r.Reason), r.Message)
	}
	return table.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
