package certificates

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Adopt makes owner the owner of the Secrets of these names that have lost it, and that the operator filled, or whose
// certificates the owner's annotation names. Those of someone else it leaves alone, and others too: Apply overwrites them. Of an
// authority that nothing proves the error is a *pki.Problem.
func (s *Secrets) Adopt(ctx context.Context, owner client.Object, names ...string) error {
	for _, name := range names {
		cached, err := s.Cached(ctx, owner.GetNamespace(), name) // which has what bears the labels
		if err != nil {
			return err
		}
		if cached == nil || apply.Owns(owner, cached) {
			continue
		}
		secret, err := s.Own(ctx, owner, name)
		if isTaken(err) {
			continue // whoever needs it says so
		}
		if err != nil {
			return err
		}
		if secret == nil || apply.Owns(owner, secret) {
			continue
		}
		desired, err := resource.AdoptedSecret(owner, secret)
		if err == nil {
			err = s.mark(ctx, owner, desired)
		}
		if err == nil {
			err = s.applier.Adopt(ctx, owner, secret, desired)
		}
		if err != nil {
			return err
		}
		s.forget(name)
	}
	return nil
}

// orphan returns a Secret that bears the labels of what owner owns and has no owner, if what it holds is the operator's or may be
// kept. It is nil if it is to be overwritten, or gone.
func (s *Secrets) orphan(ctx context.Context, owner client.Object, secret *corev1.Secret) (*corev1.Secret, error) {
	labels, err := resource.Labels(owner)
	if err != nil {
		return nil, err
	}
	object, err := s.applier.Orphan(ctx, owner, secret, labels)
	if err != nil || object == nil {
		return nil, err
	}
	live := object.(*corev1.Secret)
	if apply.Owns(owner, live) {
		return live, nil
	}
	valid, err := s.marks.Valid(ctx, owner, live)
	if err != nil {
		return nil, err
	}
	if live.Type != corev1.SecretTypeTLS && len(live.Data[corev1.TLSCertKey]) > 0 { // which cannot be changed
		return nil, s.refuse(owner, live, fmt.Sprintf("create it again with type %s", corev1.SecretTypeTLS))
	}
	held := fingerprintsIn(live)
	named := fingerprints(owner.GetAnnotations()[v1alpha1.AdoptAnnotation])
	if valid || len(held) > 0 && !slices.ContainsFunc(held, func(f string) bool { return !slices.Contains(named, f) }) {
		return live, nil
	}
	kind := "clustermaster"
	if _, ok := owner.(*v1alpha1.Refinery); ok {
		kind = "refinery"
	}
	keep := ""
	if len(held) > 0 {
		keep = fmt.Sprintf("kubectl annotate %s %s -n %s --overwrite %s=%s", kind, owner.GetName(), owner.GetNamespace(), v1alpha1.AdoptAnnotation, strings.Join(held, ","))
	}
	return nil, s.refuse(owner, live, keep)
}

// refuse returns a *pki.Problem for an authority, and notes of another Secret what is lost when it is overwritten. keep is what a
// person does to keep what it holds, or "".
func (s *Secrets) refuse(owner client.Object, secret *corev1.Secret, keep string) error {
	why := fmt.Sprintf("Secret %s has no owner, and no mark proves that the operator filled it", secret.Name)
	if m, ok := owner.(*v1alpha1.ClusterMaster); ok && secret.Name == m.AuthoritySecretName() {
		if keep != "" {
			why += "; to keep its authority: " + keep
		}
		return &pki.Problem{Reason: v1alpha1.ReasonAuthorityUnproven, Message: why + "; to have a new one, which nodes outside of the cluster have to be given, delete the Secret"}
	}
	why += ": what it held is replaced"
	if keep != "" {
		why += "; this would have kept it: " + keep
	}
	s.unproven[secret.Name] = why
	return nil
}

// mark adds the operator's mark to a Secret that is about to be written.
func (s *Secrets) mark(ctx context.Context, owner client.Object, desired *corev1ac.SecretApplyConfiguration) error {
	mark, err := s.marks.Of(ctx, owner, *desired.Name, desired.Data, desired.Annotations)
	if mark == "" {
		current, _ := s.Own(ctx, owner, *desired.Name) // whoever writes it says what is wrong with it
		if err == nil || current == nil {
			return err
		}
		// Renewals do not wait for a key that is lost. The mark is put right when there is one again.
		log.FromContext(ctx).Error(err, "A Secret is written without a new mark", "secret", *desired.Name)
		mark = current.Annotations[v1alpha1.MarkAnnotation]
	}
	if mark != "" {
		desired.WithAnnotations(map[string]string{v1alpha1.MarkAnnotation: mark})
	}
	return nil
}

// fingerprintsIn are those of all certificates that a Secret holds, each once; nil if one of them cannot be read.
func fingerprintsIn(secret *corev1.Secret) (list []string) {
	for _, file := range resource.SecretFiles {
		if len(secret.Data[file]) == 0 || !strings.HasSuffix(file, ".crt") {
			continue
		}
		chain, err := pki.ParseCertificates(file, secret.Data[file])
		if err != nil {
			return nil
		}
		for _, c := range chain {
			if f := v1alpha1.Fingerprint(c); !slices.Contains(list, f) {
				list = append(list, f)
			}
		}
	}
	return list
}

// fingerprints are those that a person wrote into an annotation.
func fingerprints(annotation string) []string {
	return strings.FieldsFunc(strings.ToLower(annotation), func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
}
