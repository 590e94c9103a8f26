// Package controllers has what the controllers of both kinds look up in the cluster and tell of it; they themselves are in
// clustermaster and refinery, which reconcile ClusterMasters and Refineries into the objects they own.
//
// Every pass reads a scope, runs an ordered list of steps over it, and ends with one write of the
// status, if it differs, and the events of what changed in it. Whatever a step needs that is not there
// yet comes back as an error typed by its consequence: retry, wait, or stalled.
package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Kinds of the custom resources.
const (
	KindMaster   = "ClusterMaster"
	KindRefinery = "Refinery"
)

// kindOf is the kind of a custom resource.
func kindOf(object client.Object) string {
	if _, ok := object.(*v1alpha1.ClusterMaster); ok {
		return KindMaster
	}
	return KindRefinery
}

// Environment is what the reconcilers of both kinds work with.
type Environment struct {
	// Client reads from the cache, which holds owned objects by the operator's label only, and writes.
	Client client.Client
	// Live reads from the API server: Secrets that a CR names, and what may stand in the way.
	Live client.Reader
	// Secrets watches the metadata of all Secrets, so that changes of those that a CR names are noticed.
	Secrets cache.Cache
	// CertManager reports whether the cluster has it. Nil: it has not.
	CertManager *certificates.CertManager
	// Issuers are those of cert-manager that a ClusterMaster may name.
	Issuers certificates.AllowedIssuers
	// ClusterDomain is the DNS domain of Services. Empty: the default.
	ClusterDomain string
	// Events records events on the CRs.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Metrics are told what the passes find.
	Metrics *Metrics
	// Marks tell the Secrets that the operator filled from others. Nil: it leaves none.
	Marks *certificates.Marks
	// Images of the pods.
	Images resource.Images
	// SecretAnnotations are those that a CR may have put on the Secrets that it owns.
	SecretAnnotations []string
	// Claims say where this operator may work. Nil: everywhere.
	Claims Claims
	// Recheck is how long after an object of someone else was found in the way it is looked for again.
	Recheck time.Duration
}

// Claims are to the namespaces that no other release of the operator works in.
type Claims interface {
	// Holds returns 0 if this release may work in a namespace, otherwise when to ask again.
	Holds(ctx context.Context, namespace string) (again time.Duration)
}

// Guarded returns a reconciler that does nothing where another release of the operator works.
func (e *Environment) Guarded(r ctrlreconcile.Reconciler) ctrlreconcile.Reconciler {
	if e.Claims == nil {
		return r
	}
	return ctrlreconcile.Func(func(ctx context.Context, request ctrlreconcile.Request) (ctrlreconcile.Result, error) {
		if again := e.Claims.Holds(ctx, request.Namespace); again > 0 {
			return ctrlreconcile.Result{RequeueAfter: again}, nil
		}
		return r.Reconcile(ctx, request)
	})
}

// Now has the resolution of the API, so that what is computed equals what is read back.
func (e *Environment) Now() time.Time { return e.Clock.Now().UTC().Truncate(time.Second) }

// NewApplier returns one that has written nothing yet.
func (e *Environment) NewApplier() *apply.Applier {
	return apply.New(e.Client, e.Live, e.Clock).Adding(func(owner client.Object, kind string) (labels, annotations map[string]string) {
		return resource.CommonMetadata(owner, kind, e.SecretAnnotations)
	})
}

// Sources are what a pass gets certificates with.
func (e *Environment) Sources(now time.Time) *certificates.Sources {
	return &certificates.Sources{Client: e.Client, Live: e.Live, CertManager: e.CertManager, Issuers: e.Issuers, Now: now, Recheck: e.Recheck, MayMake: e.RequireUnmounted}
}

// NewSecrets are those of a pass that begins.
func (e *Environment) NewSecrets(a *apply.Applier) *certificates.Secrets {
	return certificates.NewSecrets(a, e.Client, e.Live, e.Marks, func(owner client.Object, replaced string) {
		reconcile.Tell(e.Events, owner, reconcile.SecretReplaced(replaced))
	})
}

// OwnPodSet returns what runs the pods of an owner, a Deployment or the StatefulSet that a Refinery asks for, or nil.
func (e *Environment) OwnPodSet(ctx context.Context, owner client.Object) (*appsv1.Deployment, error) {
	return e.OwnPodSetOf(ctx, owner, resource.PodSetKind(owner))
}

// OwnPodSetOf returns the Deployment or the StatefulSet that an owner controls and that bears its name, or nil.
func (e *Environment) OwnPodSetOf(ctx context.Context, owner client.Object, kind string) (*appsv1.Deployment, error) {
	d, err := e.podSet(ctx, owner, kind)
	if err != nil || d == nil || !metav1.IsControlledBy(d, owner) {
		return nil, err
	}
	if r, ok := owner.(*v1alpha1.Refinery); ok && kind == podset.StatefulSet {
		d.Spec.ProgressDeadlineSeconds = r.Spec.ProgressDeadlineSeconds // which a StatefulSet cannot hold
	}
	return d, nil
}

// HasOrphanedPodSet reports whether there is a Deployment or a StatefulSet of an owner's name that bears the owner's labels and that
// nobody controls. Before its pods are known to be as they have to be, no key may be made for their names.
func (e *Environment) HasOrphanedPodSet(ctx context.Context, owner client.Object, kind string) (bool, error) {
	labels, err := resource.Labels(owner)
	if err != nil {
		return false, err
	}
	d, err := e.podSet(ctx, owner, kind)
	return d != nil && apply.LostOwner(d, owner, kindOf(owner), labels), err
}

// podSet reads the Deployment or the StatefulSet of an owner's name, whoever made it. It is nil if there is none.
func (e *Environment) podSet(ctx context.Context, owner client.Object, kind string) (*appsv1.Deployment, error) {
	object := podset.New(kind, "", "")
	err := e.Client.Get(ctx, client.ObjectKeyFromObject(owner), object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, owner.GetName(), err)
	}
	return podset.Of(object), nil
}
