package controllers

import (
	"context"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/internal/apply"
)

// ReconcileDisruptionBudget keeps a PodDisruptionBudget over the pods of an owner, or, where it is nil, none. Where someone else's
// selects these pods already, or has its name, none is made: Kubernetes evicts no pod that two select.
func (e *Environment) ReconcileDisruptionBudget(ctx context.Context, a *apply.Applier, owner client.Object, desired *policyv1ac.PodDisruptionBudgetApplyConfiguration) error {
	budget := &policyv1.PodDisruptionBudget{}
	budget.Namespace, budget.Name = owner.GetNamespace(), owner.GetName()
	if desired == nil {
		return a.Delete(ctx, owner, budget)
	}
	err := e.Client.Get(ctx, client.ObjectKeyFromObject(budget), budget)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read PodDisruptionBudget %s: %w", budget.Name, err)
	}
	if apierrors.IsNotFound(err) {
		if others, err := e.isBudgeted(ctx, budget.Namespace, budget.Name, desired.Spec.Selector.MatchLabels); err != nil || others {
			return err
		}
	}
	return a.Apply(ctx, owner, desired)
}

// isBudgeted reports whether there is a PodDisruptionBudget of a name, or one that selects pods with these labels.
func (e *Environment) isBudgeted(ctx context.Context, namespace, name string, pods map[string]string) (bool, error) {
	budgets := &policyv1.PodDisruptionBudgetList{} // the cache holds the operator's own only
	if err := e.Live.List(ctx, budgets, client.InNamespace(namespace)); err != nil {
		return false, fmt.Errorf("list PodDisruptionBudgets: %w", err)
	}
	for i := range budgets.Items {
		selector, err := metav1.LabelSelectorAsSelector(budgets.Items[i].Spec.Selector)
		if budgets.Items[i].Name == name || err == nil && selector.Matches(labels.Set(pods)) {
			return true, nil
		}
	}
	return false, nil
}
