package clustermaster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// validate checks what CEL rules cannot express.
func (r *Reconciler) validate(ctx context.Context, s *scope) error {
	if why, err := r.env.RefusedShared(ctx, s.master); err != nil {
		return err
	} else if why != "" {
		return &reconcile.StalledError{Reason: v1alpha1.ReasonInvalidReference, Message: why, Recheck: r.env.Recheck}
	}
	versions := s.master.Spec.Protocol.AcceptedVersions
	if versions == "" {
		return nil
	}
	if _, err := semver.NewConstraint(versions); err != nil {
		return &reconcile.StalledError{Reason: v1alpha1.ReasonInvalidVersions,
			Message: fmt.Sprintf("spec.protocol.acceptedVersions %q is not a valid semver constraint: %v", versions, err)}
	}
	return nil
}

// reconcilePeers keeps the key pair by which the masters know each other, and the Service through which they find each other.
func (r *Reconciler) reconcilePeers(ctx context.Context, s *scope) error {
	name := s.master.PeerName()
	secret, err := s.secrets.Own(ctx, s.master, name)
	if err == nil && secret == nil {
		err = r.env.RequireUnmounted(ctx, s.master, name)
	}
	if err != nil {
		return err
	}
	pair, read := pki.PEMPair{}, types.UID("")
	if secret != nil {
		pair, read = pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}, secret.UID
	}
	if _, err := pemtext.KeyPair(corev1.TLSCertKey, pair.Certificate, corev1.TLSPrivateKeyKey, pair.Key); err != nil { // masters that have different ones have no link for a while
		if pair, err = pki.NewKeyPair(name, s.now); err != nil {
			return err
		}
	}
	if err := s.secrets.Apply(ctx, s.master, certificates.Over(resource.MasterPeerSecret(s.master, pair), read)); err != nil {
		return err
	}
	return r.apply.Apply(ctx, s.master, resource.MasterPeerService(s.master))
}

// reconcileAccess gives the master's pods what they may do. Pods of someone else that wait for the name of the
// ServiceAccount would act as a master.
func (r *Reconciler) reconcileAccess(ctx context.Context, s *scope) error {
	name := resource.MasterServiceAccountName(s.master)
	err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: s.master.Namespace, Name: name}, &corev1.ServiceAccount{})
	if apierrors.IsNotFound(err) {
		err = r.env.RequireUnused(ctx, s.master, controllers.AccountIndex, name,
			"%[1]s %[2]s uses ServiceAccount %[3]s, by which its pods would act as a master; name another one or delete the %[1]s, then the ServiceAccount is created")
	}
	if err != nil {
		return err
	}
	for _, desired := range []apply.Configuration{
		resource.MasterServiceAccount(s.master),
		resource.MasterRole(s.master),
		resource.MasterRoleBinding(s.master),
	} {
		if err := r.apply.Apply(ctx, s.master, desired); err != nil {
			return err
		}
	}
	return nil
}

// formerRecheck is how soon to look again whether the Lease of a former ClusterMaster is gone. Leases are not watched.
const formerRecheck = 2 * time.Second

// reconcileLease makes the Lease that the master's pods hold, so that it goes with the ClusterMaster, and takes over one
// that a pod made itself. Its spec is the pods'. One of a ClusterMaster that had the name before is about to be
// deleted: a master that held it would lose it.
func (r *Reconciler) reconcileLease(ctx context.Context, s *scope, l *reconcile.Lease) error {
	if l == nil {
		return nil
	}
	desired := resource.MasterLease(s.master)
	if l.Object == nil {
		_, err := r.apply.ApplyOver(ctx, s.master, nil, desired)
		return err
	}
	owner, holder := metav1.GetControllerOf(l.Object), ptr.Deref(l.Object.Spec.HolderIdentity, "")
	switch {
	case owner != nil && owner.UID == s.master.UID:
	case owner != nil && owner.Kind == controllers.KindMaster && owner.Name == s.master.Name:
		return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Recheck: formerRecheck, Message: fmt.Sprintf(
			"Lease %s belongs to a ClusterMaster of this name that was deleted; waiting until the garbage collector has removed it", l.Object.Name)}
	case owner != nil || (holder != "" && !strings.HasPrefix(holder, s.master.Name+"-")):
		return apply.Conflict("Lease", l.Object)
	}
	_, err := r.apply.ApplyOver(ctx, s.master, l.Object, desired)
	return err
}

// reconcileNetworkPolicy keeps a NetworkPolicy over the pods, if the spec asks for one. It is there before the pods are.
func (r *Reconciler) reconcileNetworkPolicy(ctx context.Context, s *scope) error {
	if s.master.Spec.NetworkPolicy != nil {
		return r.apply.Apply(ctx, s.master, resource.MasterNetworkPolicy(s.master))
	}
	policy := &networkingv1.NetworkPolicy{}
	policy.Namespace, policy.Name = s.master.Namespace, s.master.Name
	return r.apply.Delete(ctx, s.master, policy)
}

func (r *Reconciler) reconcileDeployment(ctx context.Context, s *scope) (written int64, err error) {
	desired, err := resource.MasterDeployment(s.master, r.env.Images)
	if err != nil {
		return 0, err
	}
	if err := r.apply.Apply(ctx, s.master, desired); err != nil {
		return 0, err
	}
	return r.apply.Written(s.master, "Deployment", s.master.Name), nil
}

// inspectLease looks at the Lease. It is nil where neither a pod is wanted nor one is active.
func (r *Reconciler) inspectLease(ctx context.Context, s *scope) (*reconcile.Lease, error) {
	if s.master.WantedPods() == 0 && s.master.ActivePod() == "" {
		r.leases.Forget(client.ObjectKeyFromObject(s.master))
		return nil, nil
	}
	return r.leases.Read(ctx, s.master, s.now)
}
