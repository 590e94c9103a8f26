package api

import "strings"

// podRefusals are of the fields that say how pods are to be.
func podRefusals() []refusal {
	return []refusal{
		{"master pull secrets are names", master("{imagePullSecrets: [{name: A}]}"), "must be the name of an object in this namespace"},
		{"master pull secrets are named once", master("{imagePullSecrets: [{name: a}, {name: a}]}"), "Duplicate value"},
		{"a drain of masters ends", master("{podDisruptionBudget: {maxUnavailable: 0}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"external pulls no images", refinery("{masterRef: {name: alpha}, placement: External, imagePullSecrets: [{name: a}]}"), "are for pods, and placement External makes none; remove them, or set placement: InCluster"},
		{"pull secrets are bounded", refinery("{masterRef: {name: alpha}, imagePullSecrets: [{name: " + strings.ReplaceAll(numbered("a", 17), ", ", "}, {name: ") + "}]}"), "must have at most 16 items"},
		{"external is not evicted", refinery("{masterRef: {name: alpha}, placement: External, podDisruptionBudget: {maxUnavailable: 1}}"), "imagePullSecrets and podDisruptionBudget are for pods"},
		{"a drain ends", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '0%'}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"a drain is a share", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '101%'}}"), "with none no Kubernetes node with such a pod could ever be drained"},
	}
}
