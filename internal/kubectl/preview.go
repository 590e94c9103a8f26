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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation/plan"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// answer is who would be refused, and what else is worth knowing, or "".
type answer struct {
	refusals []admit.Refusal
	note     string
}

func (o *options) preview(ctx context.Context, stdin io.Reader) (answer, error) {
	view, err := o.connect()
	if err != nil {
		return answer{}, err
	}
	files, err := readManifests(o.files, stdin)
	if err != nil {
		return answer{}, err
	}
	var before, after *v1alpha1.ClusterMaster
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error { // its status may be written meanwhile
		before = &v1alpha1.ClusterMaster{}
		if err := view.masters(view.Get()).Name(o.master).Do(ctx).Into(before); err != nil {
			return fmt.Errorf("read ClusterMaster %s in namespace %s: %w", o.master, view.namespace, err)
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
	planned, err := (&plan.Change{Before: before, After: after, Written: files.secrets, Without: o.without, Now: time.Now(),
		Read: func(name string) (*corev1.Secret, error) { return view.secret(ctx, name) }}).Plan()
	if err != nil {
		return answer{}, err
	}
	p := &admit.Proposal{Before: before, After: after, Anchors: planned.Anchors, Unknown: planned.Unknown, Clock: clock.RealClock{}}
	if p.Shared, err = change.shared(ctx, view); err != nil {
		return answer{}, err
	}
	var list v1alpha1.RefineryList
	err = view.Get().Namespace(view.namespace).Resource("refineries").Param("fieldSelector", "spec.masterRef.name="+o.master).Do(ctx).Into(&list)
	if err != nil {
		return answer{}, fmt.Errorf("list the Refineries of ClusterMaster %s: %w", o.master, err)
	}
	p.Refineries = list.Items
	slices.SortFunc(p.Refineries, func(a, b v1alpha1.Refinery) int { return strings.Compare(a.Name, b.Name) })
	if p.Anchors != nil {
		if p.Chains, err = view.chains(ctx, p.Refineries); err != nil {
			return answer{}, err
		}
	}
	return answer{p.Preview(), planned.Note}, nil
}

func (o *options) connect() (*view, error) {
	config, err := o.cluster.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster: %w", err)
	}
	v := &view{}
	if v.namespace, _, err = o.cluster.ToRawKubeConfigLoader().Namespace(); err != nil {
		return nil, fmt.Errorf("no namespace: %w", err)
	}
	config.UserAgent = "kubectl-refinery/" + version.Version
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.WarningHandlerWithContext = rest.NoWarnings{}
	v.Interface, err = rest.RESTClientFor(config)
	return v, err
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
	if err := v.masters(v.Put()).Name(after.Name).Param("dryRun", metav1.DryRunAll).Body(after).Do(ctx).Into(after); err != nil {
		return nil, fmt.Errorf("the API server would refuse the change: %w", err)
	}
	return after, nil
}

// view asks about one namespace. A request is of the API of ClusterMasters unless it says otherwise.
type view struct {
	rest.Interface
	namespace string
}

func (v *view) masters(r *rest.Request) *rest.Request {
	return r.Namespace(v.namespace).Resource("clustermasters")
}

func (v *view) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := v.Get().AbsPath("/api/v1").Namespace(v.namespace).Resource("secrets").Name(name).Do(ctx).Into(secret); err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, nil
}

// chains returns the certificates in the Secrets of Refineries, by fingerprint. Those that are missing or not valid are left out.
func (v *view) chains(ctx context.Context, refineries []v1alpha1.Refinery) (map[string][]*x509.Certificate, error) {
	chains := map[string][]*x509.Certificate{}
	for i := range refineries {
		secret, err := v.secret(ctx, refineries[i].SecretInUse())
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
