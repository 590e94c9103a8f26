package certificates

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Secrets are the Secrets of one pass over the objects of one namespace. Each is read once, so that every step goes by the
// same version of it. Nobody changes what they return.
type Secrets struct {
	applier       *apply.Applier
	live          client.Reader
	own, provided map[string]read
}

// read is what came of reading a Secret.
type read struct {
	secret *corev1.Secret
	err    error
}

// NewSecrets returns those of a pass that begins. The applier reads from the cache, live from the API server.
func NewSecrets(applier *apply.Applier, live client.Reader) *Secrets {
	return &Secrets{applier, live, map[string]read{}, map[string]read{}}
}

// Own returns a Secret that the operator keeps for owner, from the cache if it is there. It is nil if it does not exist. One
// that is someone else's comes with an *apply.ConflictError.
func (s *Secrets) Own(ctx context.Context, owner client.Object, name string) (*corev1.Secret, error) {
	if done, ok := s.own[name]; ok {
		return done.secret, done.err
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = owner.GetNamespace(), name
	found, err := s.applier.Read(ctx, owner, secret)
	if !found {
		secret = nil
	}
	s.own[name] = read{secret, err}
	return secret, err
}

// Provided returns a Secret of whatever owner, as the API server has it. One that does not exist is a *pki.Problem.
func (s *Secrets) Provided(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	if done, ok := s.provided[name]; ok {
		return done.secret, done.err
	}
	secret := &corev1.Secret{}
	err := s.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		secret, err = nil, &pki.Problem{
			Reason:  v1alpha1.ReasonSecretNotFound,
			Message: fmt.Sprintf("Secret %s does not exist; create it, and all goes on by itself", name),
		}
	case err != nil:
		secret, err = nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	s.provided[name] = read{secret, err}
	return secret, err
}

// Apply writes a Secret for owner. It is read anew after that.
func (s *Secrets) Apply(ctx context.Context, owner client.Object, desired *corev1ac.SecretApplyConfiguration) error {
	current, err := s.Own(ctx, owner, *desired.Name)
	written := true
	if err == nil {
		written, err = s.applier.ApplyOver(ctx, owner, current, desired)
	} else { // it may have become owner's since
		err = s.applier.Apply(ctx, owner, desired)
	}
	if written || err != nil {
		delete(s.own, *desired.Name)
		delete(s.provided, *desired.Name)
	}
	return err
}

// Over makes desired replace the Secret that was read, and none that has come or gone meanwhile. What a
// person deleted is not brought back with the content that it had.
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
