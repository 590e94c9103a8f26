package api

import (
	"context"
	"strings"
	"testing"
)

// podRefusals are of the fields that say how pods are to be.
func podRefusals() []refusal {
	return []refusal{
		{"labels are not the operator's", refinery("{masterRef: {name: alpha}, commonMetadata: {labels: {app.kubernetes.io/instance: a}}}"), "are the operator's; remove them"},
		{"labels have values", master("{commonMetadata: {labels: {team: a b}}}"), "must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, or empty"},
		{"annotations are not the operator's", master("{commonMetadata: {annotations: {cluster.refinery.dev/owner-uid: a}}}"), "are for programs to write; remove them"},
		{"external has no agent", refinery("{masterRef: {name: alpha}, placement: External, agent: {logLevel: debug}}"), "are for pods, and placement External makes none"},
		{"ports of the agent differ", refinery("{masterRef: {name: alpha}, agent: {httpPort: 8082}}"), "httpPort (default 8081) and healthPort (default 8082) must differ"},
		{"chosen port of the agent", refinery("{masterRef: {name: alpha}, agent: {httpPort: 80}, ports: [{name: a, containerPort: 80}]}"), "a containerPort is the agent's: agent.httpPort (default 8081) or agent.healthPort (default 8082)"},
		{"port of the relay and of the agent", refinery("{masterRef: {name: alpha}, agent: {relay: {port: 8082}}}"), "relay.port must not be httpPort (default 8081) or healthPort (default 8082)"},
		{"port of the relay and chosen port of the agent", refinery("{masterRef: {name: alpha}, agent: {httpPort: 9081, relay: {port: 9081}}}"), "relay.port must not be httpPort (default 8081) or healthPort (default 8082)"},
		{"port of the relay and of the workload", refinery("{masterRef: {name: alpha}, agent: {relay: {port: 80}}, ports: [{name: a, containerPort: 80}]}"), "a containerPort is the agent's: agent.relay.port"},
		{"a relay has a port", refinery("{masterRef: {name: alpha}, agent: {relay: {}}}"), "spec.agent.relay.port: Required value"},
		{"connections of the relay", refinery("{masterRef: {name: alpha}, agent: {relay: {port: 80, maxConnections: 65537}}}"), "should be less than or equal to 65536"},
		{"drain of the relay", refinery("{masterRef: {name: alpha}, agent: {relay: {port: 80, drainSeconds: 86401}}}"), "should be less than or equal to 86400"},
		{"idle time of the relay", refinery("{masterRef: {name: alpha}, agent: {relay: {port: 80, idleTimeoutSeconds: 9}}}"), "should be greater than or equal to 10"},
		{"log level of the agent", refinery("{masterRef: {name: alpha}, agent: {logLevel: loud}}"), `supported values: "debug", "info", "warn", "error"`},
		{"variables have names", refinery("{masterRef: {name: alpha}, agent: {env: [{name: 1A}]}}"), "must be letters, digits and '_', and not begin with a digit"},
		{"variables of the agent are not the operator's", refinery("{masterRef: {name: alpha}, agent: {env: [{name: POD_NAME}]}}"), "or are the operator's"},
		{"variables are named once", master("{template: {env: [{name: A}, {name: A}]}}"), "Duplicate value"},
		{"no kubeconfig for masters", master("{template: {env: [{name: KUBECONFIG}]}}"), "must not be KUBECONFIG"},
		{"no other API server for masters", master("{template: {env: [{name: KUBERNETES_SERVICE_HOST}]}}"), "begin with KUBERNETES_"},
		{"no proxy for masters", master("{template: {env: [{name: https_proxy}]}}"), "or end with _PROXY"},
		{"no GODEBUG for masters", master("{template: {env: [{name: GODEBUG}]}}"), "GODEBUG"},
		{"no other roots for masters", master("{template: {env: [{name: SSL_CERT_DIR}]}}"), "SSL_"},
		{"a headless Service has no type", refinery("{masterRef: {name: alpha}, service: {headless: true, type: NodePort}}"), "a headless Service has type ClusterIP; remove headless or type"},
		{"type of the Service", refinery("{masterRef: {name: alpha}, service: {type: ExternalName}}"), `supported values: "ClusterIP", "NodePort", "LoadBalancer"`},
		{"port of the Service", refinery("{masterRef: {name: alpha}, ports: [{name: a, containerPort: 80, port: 0}]}"), "should be greater than or equal to 1"},
		{"external is not rolled out", refinery("{masterRef: {name: alpha}, placement: External, strategy: {maxSurge: 1}}"), "are for pods, and placement External makes none"},
		{"a rollout can replace pods", refinery("{masterRef: {name: alpha}, strategy: {maxSurge: 0, maxUnavailable: 0%}}"), "maxSurge and maxUnavailable must not both be 0: then no pod could ever be replaced"},
		{"a surge is bounded", refinery("{masterRef: {name: alpha}, strategy: {maxSurge: -1}}"), "must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"},
		{"what is unavailable is bounded", refinery("{masterRef: {name: alpha}, strategy: {maxUnavailable: 200%}}"), "must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"},
		{"ready before the deadline", refinery("{masterRef: {name: alpha}, minReadySeconds: 600}"), "progressDeadlineSeconds (600 by default) must be longer than minReadySeconds"},
		{"ready before the chosen deadline", refinery("{masterRef: {name: alpha}, minReadySeconds: 60, progressDeadlineSeconds: 60}"), "raise the one or lower the other"},
		{"master pull secrets are names", master("{imagePullSecrets: [{name: A}]}"), "must be the name of an object in this namespace"},
		{"master pull secrets are named once", master("{imagePullSecrets: [{name: a}, {name: a}]}"), "Duplicate value"},
		{"a drain of masters ends", master("{podDisruptionBudget: {maxUnavailable: 0}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"who connects is somebody", master("{networkPolicy: {nodes: [{}]}}"), "must be a podSelector, a namespaceSelector, both, or an ipBlock alone"},
		{"addresses are no pods", master("{networkPolicy: {metrics: [{podSelector: {}, ipBlock: {cidr: 192.0.2.0/24}}]}}"), "or an ipBlock alone"},
		{"addresses have a length", master("{networkPolicy: {apiServer: [{ipBlock: {cidr: 192.0.2.1}}]}}"), "must be an address and a length, of which no more bits are set than that"},
		{"exceptions are inside", master("{networkPolicy: {nodes: [{ipBlock: {cidr: 192.0.2.0/24, except: [198.51.100.0/25]}}]}}"), "each except must be a part of cidr"},
		{"who connects is bounded", master("{networkPolicy: {nodes: [" + strings.Repeat("{podSelector: {}}, ", 16) + "{podSelector: {}}]}}"), "must have at most 16 items"},
		{"the API server has a port", master("{networkPolicy: {apiServerPort: 0}}"), "should be greater than or equal to 1"},
		{"external pulls no images", refinery("{masterRef: {name: alpha}, placement: External, imagePullSecrets: [{name: a}]}"), "are for pods, and placement External makes none; remove them, or set placement: InCluster"},
		{"pull secrets are bounded", refinery("{masterRef: {name: alpha}, imagePullSecrets: [{name: " + strings.ReplaceAll(numbered("a", 17), ", ", "}, {name: ") + "}]}"), "must have at most 16 items"},
		{"external is not evicted", refinery("{masterRef: {name: alpha}, placement: External, podDisruptionBudget: {maxUnavailable: 1}}"), "are for pods, and placement External makes none"},
		{"a drain ends", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '0%'}}"), "must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%'"},
		{"a drain is a share", refinery("{masterRef: {name: alpha}, podDisruptionBudget: {maxUnavailable: '101%'}}"), "with none no Kubernetes node with such a pod could ever be drained"},
	}
}

// volumeRefusals are of volumes, of StatefulSets, and of when pods are upgraded.
func volumeRefusals() []refusal {
	return []refusal{
		{"a window has a beginning", master("{upgradeWindows: [{start: '24:00', duration: 1h}]}"), "must be hours and minutes from '00:00' to '23:59'"},
		{"a window is not long", master("{upgradeWindows: [{start: '02:00', duration: 25h}]}"), "must be hours and minutes from '15m' to '24h'"},
		{"a window is not short", master("{upgradeWindows: [{start: '02:00', duration: 14m}]}"), "must be hours and minutes from '15m' to '24h'"},
		{"a window has days", master("{upgradeWindows: [{days: [Holiday], start: '02:00', duration: 1h}]}"), `supported values: "Monday"`},
		{"a window is in a time zone", master("{upgradeWindows: [{start: '02:00', duration: 1h, timeZone: Europe/Atlantis}]}"), "Europe/Atlantis"},
		{"an offset is no time zone", master("{upgradeWindows: [{start: '02:00', duration: 1h, timeZone: '+02:00'}]}"), "timeZone must be a name of the IANA time zone database"},
		{"nobody's time is no time zone", master("{upgradeWindows: [{start: '02:00', duration: 1h, timeZone: Local}]}"), "timeZone must be a name of the IANA time zone database"},
		{"volumes have places of their own", master("{template: {volumes: [{name: a, mountPath: /mnt/a, emptyDir: {}}, {name: b, mountPath: /mnt/a, emptyDir: {}}]}}"), "two volumes have the same mountPath"},
		{"a StatefulSet replaces pods", refinery("{masterRef: {name: alpha}, statefulSet: {}, strategy: {maxUnavailable: 0%}}"), "strategy.maxUnavailable must not be 0 with statefulSet"},
		{"a volume has one source", master("{template: {volumes: [{name: a, mountPath: /mnt/a, emptyDir: {}, configMap: {name: c}}]}}"), "must have exactly one of configMap, emptyDir, persistentVolumeClaim and csi"},
		{"a volume has a source", master("{template: {volumes: [{name: a, mountPath: /mnt/a}]}}"), "must have exactly one of"},
		{"a volume brings no Secret", master("{template: {volumes: [{name: a, mountPath: /mnt/a, csi: {driver: d, nodePublishSecretRef: {name: s}}}]}}"), "no Secret but the master's own gets into its pods"},
		{"a volume is not the operator's", master("{template: {volumes: [{name: refinery-tls, mountPath: /mnt/a, emptyDir: {}}]}}"), "such volumes belong to the operator"},
		{"a volume covers no certificates", master("{template: {volumes: [{name: a, mountPath: /etc/refinery/tls, emptyDir: {}}]}}"), "must be an absolute path, such as '/mnt/audit'"},
		{"a volume covers nothing above them", master("{template: {volumes: [{name: a, mountPath: /etc, emptyDir: {}}]}}"), "must be an absolute path, such as '/mnt/audit'"},
		{"a volume covers no token", master("{template: {volumes: [{name: a, mountPath: /var/run/secrets/kubernetes.io, emptyDir: {}}]}}"), "must be an absolute path, such as '/mnt/audit'"},
		{"a volume does not lead around", master("{template: {volumes: [{name: a, mountPath: /mnt/../etc, emptyDir: {}}]}}"), "must be an absolute path, such as '/mnt/audit'"},
		{"a volume is not everything", master("{template: {volumes: [{name: a, mountPath: /, emptyDir: {}}]}}"), "must be an absolute path, such as '/mnt/audit'"},
		{"a StatefulSet is for pods", refinery("{masterRef: {name: alpha}, placement: External, statefulSet: {}}"), "service and statefulSet are for pods, and placement External makes none"},
		{"a StatefulSet has no surge", refinery("{masterRef: {name: alpha}, statefulSet: {}, strategy: {maxSurge: 1}}"), "strategy.maxSurge has no meaning with statefulSet, which replaces each pod in its place; remove maxSurge"},
		{"claims are not the operator's volumes", refinery("{masterRef: {name: alpha}, statefulSet: {volumeClaimTemplates: [{name: refinery-tls, spec: {}}]}}"), "must not begin with 'refinery-': such volumes belong to the operator"},
		{"claims have names", refinery("{masterRef: {name: alpha}, statefulSet: {volumeClaimTemplates: [{name: A, spec: {}}]}}"), "must be lower-case letters, digits and '-'"},
		{"claims are named once", refinery("{masterRef: {name: alpha}, statefulSet: {volumeClaimTemplates: [{name: a, spec: {}}, {name: a, spec: {}}]}}"), "Duplicate value"},
		{"claims stay or go", refinery("{masterRef: {name: alpha}, statefulSet: {persistentVolumeClaimRetentionPolicy: {whenScaled: Keep}}}"), `supported values: "Retain", "Delete"`},
	}
}

func TestAServiceStaysHeadlessOrNot(t *testing.T) {
	c := newClient(t)
	o := object(t, refinery("{masterRef: {name: alpha}, ports: [{name: http, containerPort: 80}]}"))
	if err := create(t, c, o); err != nil {
		t.Fatal(err)
	}
	set(t, o, true, "spec", "service", "headless")
	err := c.Update(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "service.headless cannot be changed while there is a Service; remove ports, and then set both again") {
		t.Errorf("got %v", err)
	}
}

func TestAStatefulSetStaysWhileThereArePods(t *testing.T) {
	const claims = `volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]`
	for name, row := range map[string]struct{ before, after, message string }{
		"added":             {`{}`, `{statefulSet: {}}`, "statefulSet cannot be added or removed while there are pods"},
		"removed":           {`{statefulSet: {}}`, `{}`, "statefulSet cannot be added or removed while there are pods"},
		"claims added":      {`{statefulSet: {}}`, `{statefulSet: {` + claims + `}}`, "volumeClaimTemplates cannot be added or removed"},
		"claims removed":    {`{statefulSet: {` + claims + `}}`, `{statefulSet: {}}`, "volumeClaimTemplates cannot be added or removed"},
		"claims changed":    {`{statefulSet: {` + claims + `}}`, `{statefulSet: {` + strings.ReplaceAll(claims, "1Gi", "2Gi") + `}}`, "volumeClaimTemplates cannot be changed"},
		"their end changed": {`{statefulSet: {` + claims + `}}`, `{statefulSet: {` + claims + `, persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}}}`, ""},
		"no pods meanwhile": {`{placement: External}`, `{statefulSet: {` + claims + `}}`, ""},
		"no pods any more":  {`{statefulSet: {` + claims + `}}`, `{placement: External}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			o, after := object(t, refinery(strings.Replace(row.before, "{", "{masterRef: {name: alpha}, ", 1))), object(t, refinery(strings.Replace(row.after, "{", "{masterRef: {name: alpha}, ", 1)))
			if err := create(t, c, o); err != nil {
				t.Fatal(err)
			}
			o.Object["spec"] = after.Object["spec"]
			err := c.Update(context.Background(), o)
			if (row.message == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), row.message)) {
				t.Errorf("got %v, want %q", err, row.message)
			}
		})
	}
}
