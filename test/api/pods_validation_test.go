package api

import "strings"

// podRefusals are of the fields that say how pods are to be.
func podRefusals() []refusal {
	return []refusal{
		{"external is not rolled out", refinery("{masterRef: {name: alpha}, placement: External, strategy: {maxSurge: 1}}"), "are for pods, and placement External makes none"},
		{"a rollout can replace pods", refinery("{masterRef: {name: alpha}, strategy: {maxSurge: 0, maxUnavailable: 0%}}"), "maxSurge and maxUnavailable must not both be 0: then no pod could ever be replaced"},
		{"a surge is bounded", refinery("{masterRef: {name: alpha}, strategy: {maxSurge: -1}}"), "must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"},
		{"what is unavailable is bounded", refinery("{masterRef: {name: alpha}, strategy: {maxUnavailable: 200%}}"), "must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"},
		{"ready before the deadline", refinery("{masterRef: {name: alpha}, minReadySeconds: 600}"), "progressDeadlineSeconds (600 by default) must be longer than minReadySeconds"},
		{"ready before the chosen deadline", refinery("{masterRef: {name: alpha}, minReadySeconds: 60, progressDeadlineSeconds: 60}"), "raise the one or lower the other"},
		{"master pull secrets are names", master("{imagePullSecrets: [{name: A}]}"), "must be the name of an object in this namespace"},
		{"master pull secrets are named once", master("{imagePullSecrets: [{name: a}, {name: a}]}"), "Duplicate value"},
		{"a drain of masters ends", master("{podDisruptionBudget: {maxUnavailable: 0}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"external pulls no images", refinery("{masterRef: {name: alpha}, placement: External, imagePullSecrets: [{name: a}]}"), "are for pods, and placement External makes none; remove them, or set placement: InCluster"},
		{"pull secrets are bounded", refinery("{masterRef: {name: alpha}, imagePullSecrets: [{name: " + strings.ReplaceAll(numbered("a", 17), ", ", "}, {name: ") + "}]}"), "must have at most 16 items"},
		{"external is not evicted", refinery("{masterRef: {name: alpha}, placement: External, podDisruptionBudget: {maxUnavailable: 1}}"), "are for pods, and placement External makes none"},
		{"a drain ends", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '0%'}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"a drain is a share", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '101%'}}"), "with none no Kubernetes node with such a pod could ever be drained"},
	}
}
