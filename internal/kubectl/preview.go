package kubectl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// answer is who would be refused, and what else is worth knowing, or "".
type answer struct {
	refusals []admit.Refusal
	note     string
}

func (o *options) preview(ctx context.Context, stdin io.Reader) (answer, error) {
	c, err := o.connect()
	if err != nil {
		return answer{}, err
	}
	view := &view{Client: c, namespace: o.namespace}
	files, err := readManifests(o.files, stdin)
	if err != nil {
		return answer{}, err
	}
	var before, after *v1alpha1.ClusterMaster
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error { // its status may be written meanwhile
		before = &v1alpha1.ClusterMaster{}
		if err := view.get(ctx, o.master, before); err != nil {
			return fmt.Errorf("read ClusterMaster %s in namespace %s: %w", o.master, o.namespace, err)
		}
		after, err = o.proposed(ctx, view, before, files)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	change := &change{before: before, after: after, secrets: files.secrets}
	if err := change.checkSecrets(); err != nil {
		return answer{}, err
	}
	plan, err := (&rotation.Change{Before: before, After: after, Written: files.secrets, Without: o.without, Now: time.Now(),
		Read: func(name string) (*corev1.Secret, error) { return view.secret(ctx, name) }}).Plan()
	if err != nil {
		return answer{}, err
	}
	p := &admit.Proposal{Before: before, After: after, Anchors: plan.Anchors, Unknown: plan.Unknown, Clock: clock.RealClock{}}
	if p.Shared, err = change.shared(ctx, view); err != nil {
		return answer{}, err
	}
	var list v1alpha1.RefineryList
	if err := c.List(ctx, &list, client.InNamespace(o.namespace), client.MatchingFields{"spec.masterRef.name": o.master}); err != nil {
		return answer{}, fmt.Errorf("list the Refineries of ClusterMaster %s: %w", o.master, err)
	}
	p.Refineries = list.Items
	slices.SortFunc(p.Refineries, func(a, b v1alpha1.Refinery) int { return strings.Compare(a.Name, b.Name) })
	if p.Anchors != nil {
		if p.Chains, err = view.chains(ctx, p.Refineries); err != nil {
			return answer{}, err
		}
	}
	return answer{p.Preview(), plan.Note}, nil
}

func (o *options) connect() (client.Client, error) {
	config, err := o.cluster.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster: %w", err)
	}
	if o.namespace, _, err = o.cluster.ToRawKubeConfigLoader().Namespace(); err != nil {
		return nil, fmt.Errorf("no namespace: %w", err)
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
		if len(m.Annotations) > 0 { // as kubectl apply does
			after.Annotations = map[string]string{}
			maps.Copy(after.Annotations, before.Annotations)
			maps.Copy(after.Annotations, m.Annotations)
		}
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

// view reads one namespace.
type view struct {
	client.Client
	namespace string
}

func (v *view) get(ctx context.Context, name string, object client.Object) error {
	return v.Get(ctx, client.ObjectKey{Namespace: v.namespace, Name: name}, object)
}

func (v *view) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := v.get(ctx, name, secret); err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, nil
}

// chains are the certificates in the Secrets of Refineries, by fingerprint. What is missing or no good is left out.
func (v *view) chains(ctx context.Context, refineries []v1alpha1.Refinery) (map[string][]*x509.Certificate, error) {
	chains := map[string][]*x509.Certificate{}
	for i := range refineries {
		secret, err := v.secret(ctx, refineries[i].CertificateSecretName())
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if chain, err := pki.ParseCertificates(corev1.TLSCertKey, secret.Data[corev1.TLSCertKey]); err == nil {
			chains[v1alpha1.Fingerprint(chain[0])] = chain
		}
	}
	return chains, nil
}

func (o *options) print(w io.Writer, found answer) error {
	if o.output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(append([]admit.Refusal{}, found.refusals...))
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	if len(found.refusals) == 0 {
		_, _ = fmt.Fprintln(table, "Every node that is authenticated now would be let in.")
	} else {
		_, _ = fmt.Fprintln(table, "REFINERY\tNODE\tWHEN\tREASON\tMESSAGE")
	}
	for _, r := range found.refusals {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Refinery, orDash(r.Node), r.When, orDash(r.Reason), r.Message)
	}
	if found.note != "" {
		_, _ = fmt.Fprintln(table, found.note)
	}
	return table.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
