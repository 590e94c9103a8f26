package clustermaster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// reconcileShared keeps the Secret with the bearer secret of SharedCertificate authentication, and removes it where it is not
// used. A provided one is copied there, so that it can change while nodes stay in. While what is provided is not good, the
// copy stays as it is.
func (r *Reconciler) reconcileShared(ctx context.Context, s *scope, found *security) (*pki.Problem, error) {
	name := s.master.SharedSecretName()
	if !s.master.UsesShared() {
		own := &corev1.Secret{}
		own.Namespace, own.Name = s.master.Namespace, name
		return nil, r.apply.Delete(ctx, s.master, own)
	}
	var wanted []byte
	var problem *pki.Problem
	if provided, named := s.master.ProvidedSharedSecretName(); named {
		var err error
		if wanted, problem, err = readShared(ctx, s, provided); err != nil || provided == name {
			return problem, err
		}
	}
	return problem, r.keepShared(ctx, s, wanted, problem, found)
}

// keepShared writes the operator's own Secret. wanted is what a person provides, or nil.
func (r *Reconciler) keepShared(ctx context.Context, s *scope, wanted []byte, problem *pki.Problem, found *security) error {
	name := s.master.SharedSecretName()
	secret, err := s.secrets.Own(ctx, s.master, name)
	if err == nil && secret == nil {
		err = r.env.RequireUnmounted(ctx, s.master, name)
	}
	if err != nil {
		return err
	}
	held, read := resource.Shared{}, types.UID("")
	if active := s.master.Status.Active; active != nil { // of a Secret that was deleted
		held.Generation = active.SharedGeneration
	}
	if secret != nil {
		held, read = resource.ReadMasterShared(secret), secret.UID
	}
	if _, err := secretfiles.Shared(held.Certificate); err != nil && wanted == nil {
		if problem != nil {
			return nil // there is nothing to go on with
		}
		wanted = []byte(rand.Text() + rand.Text()) // 260 random bits
	}
	next := nextShared(held, wanted, hasLoadedShared(s.master, held.Generation), s.master.Spec.Security.OverlapDuration(), s.now)
	found.shared = next
	return s.secrets.Apply(ctx, s.master, certificates.Over(resource.MasterSharedSecret(s.master, next), read))
}

// hasLoadedShared reports whether the active master has what the Secret holds. The last one that was active counts too while none is:
// the next may have to wait for its kubelet.
func hasLoadedShared(m *v1alpha1.ClusterMaster, generation int64) bool {
	return m.Status.Active == nil || m.WantedPods() == 0 || m.Status.Active.SharedGeneration >= generation
}

// nextShared takes at most one step from what the Secret holds to what is wanted; nil stands for no other. Masters get another
// shared certificate before nodes do, and let the former one in for the overlap after that. Another one waits until that is over.
func nextShared(held resource.Shared, wanted []byte, loaded bool, overlap time.Duration, now time.Time) resource.Shared {
	_, unusable := secretfiles.Shared(held.Certificate)
	next := held
	switch {
	case unusable != nil:
		next = resource.Shared{Certificate: wanted, Generation: held.Generation}
	case wanted == nil || sameShared(wanted, held.Certificate):
		next.Next = nil
	case overlap == 0:
		next = resource.Shared{Certificate: wanted, Generation: held.Generation}
	case !sameShared(wanted, held.Next):
		next.Next = wanted
	case len(held.Former) > 0 && now.Before(held.Until): // for which nodes still have time
	case loaded:
		next.Certificate, next.Next, next.Former, next.Until = held.Next, nil, held.Certificate, now.Add(overlap)
	}
	if len(next.Former) > 0 && (!now.Before(next.Until) || overlap == 0) {
		next.Former, next.Until = nil, time.Time{}
	}
	if !bytes.Equal(next.Certificate, held.Certificate) || !bytes.Equal(next.Next, held.Next) || !bytes.Equal(next.Former, held.Former) {
		next.Generation++
	}
	return next
}

// sameShared compares two as nodes and masters do: blanks around them do not count.
func sameShared(a, b []byte) bool { return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) }

// readShared reads the shared certificate that a person provides, or says what is wrong with it.
func readShared(ctx context.Context, s *scope, name string) ([]byte, *pki.Problem, error) {
	secret, err := s.secrets.Provided(ctx, s.master.Namespace, name)
	if p := pki.AsProblem(err); p != nil {
		return nil, &pki.Problem{Reason: p.Reason, Message: "certificates.shared: " + p.Message}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	value := secret.Data[v1alpha1.SharedCertificateKey]
	_, err = secretfiles.Shared(value)
	reason := v1alpha1.ReasonNotPEM
	switch {
	case err == nil:
		return value, nil, nil
	case errors.Is(err, secretfiles.ErrSharedEmpty):
		reason = v1alpha1.ReasonSecretKeyMissing
	case errors.Is(err, secretfiles.ErrSharedLong):
		reason = v1alpha1.ReasonTooLarge
	case errors.Is(err, secretfiles.ErrSharedShort):
		reason = v1alpha1.ReasonTooShort
	}
	return nil, &pki.Problem{Reason: reason, Message: fmt.Sprintf("certificates.shared: Secret %s: key %s %v", secret.Name, v1alpha1.SharedCertificateKey, err)}, nil
}
