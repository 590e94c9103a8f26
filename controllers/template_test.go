package controllers_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// claim has a quantity that is written in another way than Kubernetes does.
var claim = corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1024Mi")}}}

// templates hold what the API server fills in, drops or writes in another way.
var templates = map[string]string{
	"a field of the pod":        `{containers: [{name: app, image: a, env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}]}`,
	"an amount":                 `{initContainers: [{name: app, image: a, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]}]}`,
	"an amount of another one":  `{containers: [{name: app, image: a, env: [{name: A, valueFrom: {resourceFieldRef: {containerName: refinery-agent, resource: limits.memory, divisor: 1Mi}}}]}]}`,
	"a file":                    `{containers: [{name: app, image: a, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: A}}}]}], volumes: [{name: v, emptyDir: {}}]}`,
	"the downward API":          `{volumes: [{name: v, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}, {path: c, resourceFieldRef: {containerName: refinery-agent, resource: limits.cpu}}]}}]}`,
	"a token":                   `{volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.name}}]}}]}}]}`,
	"a token for an hour":       `{volumes: [{name: v, projected: {defaultMode: 256, sources: [{serviceAccountToken: {path: t, expirationSeconds: 3600}}]}}]}`,
	"a token and other sources": `{volumes: [{name: v, projected: {sources: [{secret: {name: s, items: [{key: a, path: b}]}}, {configMap: {name: c, optional: false}}, {serviceAccountToken: {audience: x, path: t}}]}}]}`,
	"lists that are empty":      `{tolerations: [], hostAliases: [], imagePullSecrets: [], topologySpreadConstraints: [], volumes: [], containers: [{name: app, image: a, args: [], command: [], env: [], envFrom: [], ports: []}]}`,
	"objects that are empty":    `{affinity: {}, nodeSelector: {}, securityContext: {}, dnsConfig: {}, containers: [{name: app, image: a, resources: {}, lifecycle: {}, securityContext: {}}], volumes: [{name: v, emptyDir: {}}]}`,
	"deeper ones":               `{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: []}}, containers: [{name: app, image: a, securityContext: {capabilities: {add: [], drop: []}}, resources: {limits: {}, requests: {}}}]}`,
	"zeros":                     `{hostNetwork: false, nodeName: "", priorityClassName: "", containers: [{name: app, image: a, stdin: false, workingDir: "", readinessProbe: {initialDelaySeconds: 0, tcpSocket: {port: 80}}, env: [{name: A, value: ""}]}]}`,
	"nulls":                     `{tolerations: null, affinity: null, containers: [{name: app, image: a, resources: null, args: null}]}`,
	"quantities":                `{overhead: {}, containers: [{name: app, image: a, resources: {requests: {cpu: 1000m, memory: 1048576Ki}, limits: {cpu: 2.0, memory: 2048Mi}}}], volumes: [{name: v, emptyDir: {sizeLimit: 1024Ki, medium: ""}}]}`,
	"probes":                    `{containers: [{name: app, image: a, livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: A, value: b}]}}, startupProbe: {grpc: {port: 90}}, lifecycle: {preStop: {httpGet: {port: 80}}}}]}`,
	"spread":                    `{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]}`,
	"affinity":                  `{affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchExpressions: [{key: a, operator: Exists, values: []}]}}}]}}}`,
	"tolerations":               `{tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 30}, {operator: "", key: b, value: ""}]}`,
	"volumes with defaults":     `{volumes: [{name: a, hostPath: {path: /a}}, {name: b, secret: {secretName: b}}, {name: c, configMap: {name: c}}, {name: d, iscsi: {targetPortal: "10.0.0.1", iqn: "iqn.2001-04.com.example:a", lun: 0}}, {name: e, azureDisk: {diskName: a, diskURI: "https://blobs.example/b.vhd"}}, {name: f, rbd: {image: i, monitors: [m]}}]}`,
	"a claim of the pod's own":  `{volumes: [{name: a, ephemeral: {volumeClaimTemplate: {metadata: {labels: {}}, spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1024Mi}}}}}}]}`,
	"variables set twice":       `{containers: [{name: app, image: a, env: [{name: A, value: a}, {name: B, value: b}, {name: A, value: c}], ports: [{containerPort: 80}, {containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: UDP}]}]}`,
	"names and numbers":         `{restartPolicy: Always, terminationGracePeriodSeconds: 0, shareProcessNamespace: false, securityContext: {runAsUser: 0, runAsNonRoot: false, supplementalGroups: [], sysctls: []}, hostAliases: [{ip: 127.0.0.1, hostnames: []}]}`,
	"readiness gates":           `{readinessGates: [{conditionType: a.example/b}], dnsConfig: {nameservers: [], options: [{name: ndots, value: "1"}]}, schedulingGates: []}`,
}

func TestNothingIsWrittenAgainWhateverATemplateHolds(t *testing.T) {
	requireServer(t)
	for name, spec := range templates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			namespace, err := newNamespace(ctx)
			if err != nil {
				t.Fatal(err)
			}
			f := fixture{ctx, namespace}
			m, r := f.master("alpha", `{}`), f.refinery("press", `{ports: [{name: http, containerPort: 9000}]}`)
			raw, err := yaml.YAMLToJSON([]byte("{spec: " + spec + "}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Spec.Template = &runtime.RawExtension{Raw: raw}
			set := r.DeepCopy()
			set.Name, set.Spec.StatefulSet = "mill", &v1alpha1.RefineryStatefulSet{VolumeClaimTemplates: []v1alpha1.VolumeClaimTemplate{{Name: "data", Spec: claim}}}
			if err := errors.Join(api.Create(ctx, m), api.Create(ctx, r), api.Create(ctx, set)); err != nil {
				t.Fatal(err)
			}
			first := newProcessAt(namespace, 0, false, clocktesting.NewFakePassiveClock(time.Now()), "press", "mill")
			if err := first.run(ctx, t); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"press", "mill"} {
				if err := f.available(name, 1); err != nil {
					must(f.get(r, name))
					t.Fatalf("%v; conditions: %+v", err, r.Status.Conditions)
				}
			}
			before, restarted := first.writes.total(), newProcessAt(namespace, 0, false, clocktesting.NewFakePassiveClock(time.Now()), "press", "mill")
			if err := errors.Join(first.run(ctx, t), restarted.run(ctx, t)); err != nil {
				t.Fatal(err)
			}
			for which, writes := range map[string][]string{"goes on": first.writes.since(before), "has just started": restarted.writes.since(0)} {
				if slices.Contains(writes, "apply Deployment press") || slices.Contains(writes, "apply StatefulSet mill") {
					t.Errorf("an operator that %s writes %q", which, writes)
				}
			}
		})
	}
}
