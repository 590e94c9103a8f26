package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// ListPodSets lists the Deployments and the StatefulSets that the options select.
func ListPodSets(ctx context.Context, reader client.Reader, options ...client.ListOption) ([]*appsv1.Deployment, error) {
	deployments, statefulSets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
	if err := reader.List(ctx, deployments, options...); err != nil {
		return nil, fmt.Errorf("list Deployments: %w", err)
	}
	if err := reader.List(ctx, statefulSets, options...); err != nil {
		return nil, fmt.Errorf("list StatefulSets: %w", err)
	}
	all := make([]*appsv1.Deployment, 0, len(deployments.Items)+len(statefulSets.Items))
	for i := range deployments.Items {
		all = append(all, &deployments.Items[i])
	}
	for i := range statefulSets.Items {
		all = append(all, podset.Of(&statefulSets.Items[i]))
	}
	return all, nil
}
