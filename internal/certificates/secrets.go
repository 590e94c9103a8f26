package certificates

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Secrets are the Secrets of one pass over the objects of one namespace. Each is read once, so that every step goes by the
// same version of it. Nobody changes what they return.
type Secrets struct {
	applier               *apply.Applier
	cache, live           client.Reader
	marks                 *Marks
	tell                  func(owner client.Object, replaced string)
	cached, own, provided map[string]read
	// unproven says of each orphan that is to be overwritten what is lost.
	unproven map[string]string
}

// read is what came of reading a Secret.
type read struct {
	secret *corev1.Secret
	err    error
}

// NewSecrets returns those of a pass that begins. live is the API server, which the cache may be behind. tell is called when what
// an orphan held was replaced.
func NewSecrets(applier *apply.Applier, cache, live client.Reader, marks *Marks, tell func(owner client.Object, replaced string)) *Secrets {
	return &Secrets{applier, cache, live, marks, tell, map[string]read{}, map[string]read{}, map[string]read{}, map[string]string{}}
}

// Own returns a Secret that the operator keeps for owner, from the cache if it is there. It is nil if it does not exist, or is an
// orphan whose content is not to be kept. One that is someone else's comes with an *apply.ConflictError, and an orphan with an
// authority that nothing proves with a *pki.Problem.
func (s *Secrets) Own(ctx context.Context, owner client.Object, name string) (*corev1.Secret, error) {
	return once(s.own, name, func(secret *corev1.Secret) error {
		cached, err := s.Cached(ctx, owner.GetNamespace(), name)
		switch {
		case err != nil:
			return err
		case cached != nil:
			*secret = *cached
		default: // made a moment ago, or not the operator's
			err = s.live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
		}
		switch {
		case apierrors.IsNotFound(err):
			return errNone
		case err != nil:
			return fmt.Errorf("read Secret %s: %w", name, err)
		case !apply.Owns(owner, secret):
			orphan, err := s.orphan(ctx, owner, secret)
			if err != nil {
				return err
			}
			if orphan == nil {
				return errNone
			}
			*secret = *orphan
		}
		secret.SetManagedFields(nil)
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		return nil
	})
}

// Cached returns a Secret that bears the operator's label, as the cache has it, or nil.
func (s *Secrets) Cached(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return once(s.cached, name, func(secret *corev1.Secret) error {
		err := s.cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
		if apierrors.IsNotFound(err) {
			return errNone
		}
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", name, err)
		}
		if secret.Labels[resource.LabelManagedBy] != resource.ManagedBy { // a cache may hold others
			return errNone
		}
		return nil
	})
}

// Provided returns a Secret of whatever owner, as the API server has it. One that does not exist is a *pki.Problem.
func (s *Secrets) Provided(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return once(s.provided, name, func(secret *corev1.Secret) error {
		err := s.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
		if apierrors.IsNotFound(err) {
			return &pki.Problem{Reason: v1alpha1.ReasonSecretNotFound,
				Message: fmt.Sprintf("Secret %s does not exist; create it and reconciliation resumes", name)}
		}
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", name, err)
		}
		return nil
	})
}

// errNone reports that a Secret does not exist, where that is no error.
var errNone = errors.New("it does not exist")

func once(done map[string]read, name string, get func(*corev1.Secret) error) (*corev1.Secret, error) {
	if _, ok := done[name]; !ok {
		secret := &corev1.Secret{}
		err := get(secret)
		if errors.Is(err, errNone) {
			secret, err = nil, nil
		}
		done[name] = read{secret, err}
	}
	return done[name].secret, done[name].err
}

// Apply writes a Secret for owner. If it changed, the pass reads it again.
func (s *Secrets) Apply(ctx context.Context, owner client.Object, desired *corev1ac.SecretApplyConfiguration) error {
	if err := s.mark(ctx, owner, desired); err != nil {
		return err
	}
	current, err := s.Own(ctx, owner, *desired.Name)
	written := true
	if err == nil && current != nil && apply.Owns(owner, current) {
		written, err = s.applier.ApplyOver(ctx, owner, current, desired)
	} else { // someone may have made it since, or it may have become owner's
		err = s.applier.Apply(ctx, owner, desired)
	}
	_, deleted := errors.AsType[*apply.PendingError](err)
	if replaced := s.unproven[*desired.Name]; replaced != "" && (err == nil || deleted) {
		s.tell(owner, replaced)
	}
	if written || err != nil {
		s.forget(*desired.Name)
	}
	return err
}

// forget has a Secret read again.
func (s *Secrets) forget(name string) {
	for _, done := range []map[string]read{s.cached, s.own, s.provided} {
		delete(done, name)
	}
	delete(s.unproven, name)
}

// isTaken reports whether an object is someone else's.
func isTaken(err error) bool {
	_, taken := errors.AsType[*apply.ConflictError](err)
	return taken
}

// Over makes desired replace the Secret that was read and no other: a Secret that a person deleted meanwhile is not
// created again with its old content.
func Over(desired *corev1ac.SecretApplyConfiguration, read types.UID) *corev1ac.SecretApplyConfiguration {
	if read != "" {
		desired.WithUID(read)
	}
	return desired
}

// InSecret puts the name of the Secret in front of a *pki.Problem.
func InSecret(name string, err error) error {
	if p := pki.AsProblem(err); p != nil {
		return &pki.Problem{Reason: p.Reason, Message: fmt.Sprintf("Secret %s: %s", name, p.Message)}
	}
	return err
}
