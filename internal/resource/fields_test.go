package resource

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// field is a field of a spec, and where its value is in an object that is built from it.
type field struct {
	// spec has the field, and nothing else of what is tested.
	spec string
	// path is a JSONPath into the object; want is what is there, as kubectl -o jsonpath prints it.
	path, want string
}

// Paths into a Deployment.
const (
	podSpec = ".spec.template.spec"
	sidecar = podSpec + ".initContainers[0]"
	alone   = podSpec + ".containers[0]"
)

func TestFieldsOfAClusterMasterReachItsPods(t *testing.T) {
	for name, f := range map[string]field{
		"imagePullSecrets":          {`{imagePullSecrets: [{name: own}, {name: all}]}`, podSpec + ".imagePullSecrets[*].name", "all own"},
		"env":                       {`{template: {env: [{name: GOMEMLIMIT, value: 1GiB}]}}`, alone + `.env[?(@.name=="GOMEMLIMIT")].value`, "1GiB"},
		"proxyProtocol":             {`{service: {proxyProtocol: {port: 7, trustedNetworks: [192.0.2.0/24]}}}`, alone + `.ports[?(@.name=="cluster-proxy")].containerPort`, "34310"},
		"no service links":          {`{}`, podSpec + ".enableServiceLinks", "false"},
		"runtimeClassName":          {`{template: {runtimeClassName: sandboxed}}`, podSpec + ".runtimeClassName", "sandboxed"},
		"podSecurityContext":        {`{template: {podSecurityContext: {fsGroup: 7}}}`, podSpec + ".securityContext", `{"fsGroup":7,"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}}`},
		"volumes":                   {`{template: {volumes: [{name: a, mountPath: /mnt/a, configMap: {name: c}}, {name: b, mountPath: /mnt/b, csi: {driver: d}}]}}`, podSpec + ".volumes[2:]", `{"configMap":{"name":"c"},"name":"a"} {"csi":{"driver":"d"},"name":"b"}`},
		"mounts":                    {`{template: {volumes: [{name: a, mountPath: /mnt/a, readOnly: true, emptyDir: {}}]}}`, alone + `.volumeMounts[?(@.name=="a")]`, `{"mountPath":"/mnt/a","name":"a","readOnly":true}`},
		"a claim":                   {`{template: {volumes: [{name: a, mountPath: /mnt/a, persistentVolumeClaim: {claimName: c}}]}}`, podSpec + ".volumes[*].persistentVolumeClaim.claimName", "c"},
		"securityContext":           {`{template: {securityContext: {runAsUser: 7, capabilities: {add: [NET_BIND_SERVICE]}}}}`, alone + ".securityContext.capabilities", `{"add":["NET_BIND_SERVICE"],"drop":["ALL"]}`},
		"resources":                 {`{template: {resources: {limits: {memory: 99Mi}}}}`, alone + ".resources.limits.memory", "99Mi"},
		"nodeSelector":              {`{template: {nodeSelector: {pool: masters}}}`, podSpec + ".nodeSelector.pool", "masters"},
		"tolerations":               {`{template: {tolerations: [{key: masters, operator: Exists}]}}`, podSpec + ".tolerations[*].key", "masters"},
		"affinity":                  {`{template: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: rack}]}}}}`, podSpec + ".affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[*].topologyKey", "rack"},
		"topologySpreadConstraints": {`{template: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]}}`, podSpec + ".topologySpreadConstraints[*].topologyKey", "rack"},
		"priorityClassName":         {`{template: {priorityClassName: high}}`, podSpec + ".priorityClassName", "high"},
		"labels of pods":            {`{template: {metadata: {labels: {team: a, app.kubernetes.io/instance: b}}}}`, ".spec.template.metadata.labels['team','app\\.kubernetes\\.io/instance']", "a alpha"},
		"annotations of pods":       {`{template: {metadata: {annotations: {team: a}}}}`, ".spec.template.metadata.annotations.team", "a"},
		"a surge by default":        {`{}`, ".spec.strategy.rollingUpdate", `{"maxSurge":1,"maxUnavailable":0}`},
		"strategy":                  {`{strategy: {maxSurge: 0, maxUnavailable: 2}}`, ".spec.strategy.rollingUpdate", `{"maxSurge":0,"maxUnavailable":2}`},
		"no surge with a claim":     {`{template: {volumes: [{name: a, mountPath: /mnt/a, persistentVolumeClaim: {claimName: c}}]}}`, ".spec.strategy.rollingUpdate", `{"maxSurge":0,"maxUnavailable":1}`},
		"no surge with pods apart":  {`{template: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: host, labelSelector: {matchLabels: {app.kubernetes.io/instance: alpha}}}]}}}}`, ".spec.strategy.rollingUpdate", `{"maxSurge":0,"maxUnavailable":1}`},
		"minReadySeconds":           {`{minReadySeconds: 7}`, ".spec.minReadySeconds", "7"},
		"progressDeadlineSeconds":   {`{progressDeadlineSeconds: 70}`, ".spec.progressDeadlineSeconds", "70"},
		"what it leaves out stays":  {`{template: {securityContext: {runAsUser: 7}}}`, alone + ".securityContext.readOnlyRootFilesystem", "true"},
		"the operator's by default": {`{}`, podSpec + ".imagePullSecrets[*].name", "all"},
	} {
		t.Run(name, func(t *testing.T) {
			built, err := MasterDeployment(masterWith(t, f.spec), imagesToPull())
			f.check(t, built, err)
		})
	}
}

func TestFieldsOfAClusterMasterReachItsNetworkPolicy(t *testing.T) {
	const everywhere = `[{namespaceSelector: {}}]`
	for name, f := range map[string]field{
		"nodes from anywhere":             {`{networkPolicy: {}}`, ".spec.ingress[0].from", ""},
		"nodes":                           {`{networkPolicy: {nodes: [{ipBlock: {cidr: 192.0.2.0/24}}]}}`, ".spec.ingress[0].from[*].ipBlock.cidr", "192.0.2.0/24"},
		"nodes, all pods of all":          {`{networkPolicy: {nodes: ` + everywhere + `}}`, ".spec.ingress[0].from", `[{"namespaceSelector":{}}]`},
		"load balancers":                  {`{networkPolicy: {}, service: {proxyProtocol: {trustedNetworks: [192.0.2.0/24]}}}`, ".spec.ingress[2].from[*].ipBlock.cidr", "192.0.2.0/24"},
		"their port":                      {`{networkPolicy: {}, service: {proxyProtocol: {trustedNetworks: [192.0.2.0/24]}}}`, ".spec.ingress[2].ports[*].port", "34310"},
		"metrics for nobody":              {`{networkPolicy: {}}`, ".spec.ingress[*].ports[*].port", "34308 34309"},
		"metrics":                         {`{networkPolicy: {metrics: ` + everywhere + `}}`, ".spec.ingress[2].ports[*].port", "8080"},
		"metrics for whom":                {`{networkPolicy: {metrics: ` + everywhere + `}}`, ".spec.ingress[2].from", `[{"namespaceSelector":{}}]`},
		"API server anywhere":             {`{networkPolicy: {}}`, ".spec.egress[2]", `{"ports":[{"protocol":"TCP"}]}`},
		"apiServer":                       {`{networkPolicy: {apiServer: [{ipBlock: {cidr: 192.0.2.1/32}}]}}`, ".spec.egress[2].to[*].ipBlock.cidr", "192.0.2.1/32"},
		"apiServerPort":                   {`{networkPolicy: {apiServerPort: 6443}}`, ".spec.egress[2].ports[*].port", "6443"},
		"a port of the Service is not it": {`{networkPolicy: {}, service: {port: 443}}`, ".spec.ingress[0].ports[*].port", "34308"},
	} {
		t.Run(name, func(t *testing.T) { f.check(t, MasterNetworkPolicy(masterWith(t, f.spec)), nil) })
	}
}

func TestFieldsOfARefineryReachItsPods(t *testing.T) {
	for name, f := range map[string]field{
		"imagePullSecrets":                               {`{imagePullSecrets: [{name: own}, {name: all}]}`, podSpec + ".imagePullSecrets[*].name", "all own"},
		"runAsUser of template":                          {`{template: {spec: {securityContext: {runAsUser: 1000}, containers: [{name: app}]}}}`, sidecar + ".securityContext.runAsUser", ""},
		"root in template":                               {`{template: {spec: {securityContext: {runAsUser: 0}, containers: [{name: app}]}}}`, sidecar + ".securityContext.runAsUser", "65532"},
		"root in template, no workload":                  {`{template: {spec: {securityContext: {runAsUser: 0}}}}`, alone + ".securityContext.runAsUser", "65532"},
		"no service links":                               {`{}`, podSpec + ".enableServiceLinks", "false"},
		"service links":                                  {`{template: {spec: {enableServiceLinks: true}}}`, podSpec + ".enableServiceLinks", "true"},
		"agent.httpPort":                                 {`{agent: {httpPort: 9081}}`, alone + ".args", "--http-address=127.0.0.1:9081"},
		"agent.healthPort":                               {`{agent: {healthPort: 9082}}`, alone + ".args", "--health-address=:9082"},
		"agent.healthPort of probes":                     {`{agent: {healthPort: 9082}}`, alone + ".ports[*].containerPort", "9082"},
		"agent.relay":                                    {`{agent: {relay: {port: 8083}}}`, alone + ".args", "--relay-address=127.0.0.1:8083"},
		"agent.relay, its port":                          {`{agent: {relay: {port: 8083}}}`, alone + `.ports[?(@.name=="relay")].containerPort`, "8083"},
		"no relay by default":                            {`{}`, alone + ".ports[*].name", "agent"},
		"agent.relay.drainSeconds":                       {`{agent: {relay: {port: 8083, drainSeconds: 0}}}`, alone + ".args", "--relay-drain=0s"},
		"agent.relay.maxConnections":                     {`{agent: {relay: {port: 8083, maxConnections: 7}}}`, alone + ".args", "--relay-max-connections=7"},
		"agent.relay.idleTimeoutSeconds":                 {`{agent: {relay: {port: 8083, idleTimeoutSeconds: 70}}}`, alone + ".args", "--relay-idle-timeout=70s"},
		"agent.logLevel":                                 {`{agent: {logLevel: debug}}`, alone + ".args", "--log-level=debug"},
		"agent.resources":                                {`{agent: {resources: {limits: {memory: 99Mi}}}}`, alone + ".resources.limits.memory", "99Mi"},
		"agent.resources in place of the default":        {`{agent: {resources: {limits: {memory: 99Mi}}}}`, alone + ".resources.requests", ""},
		"agent.env":                                      {`{agent: {env: [{name: GOMAXPROCS, value: "1"}]}, template: {spec: {containers: [{name: app}]}}}`, sidecar + `.env[?(@.name=="GOMAXPROCS")].value`, "1"},
		"a port that is free then":                       {`{agent: {httpPort: 9081}, template: {spec: {containers: [{name: app, ports: [{containerPort: 8081}]}]}}}`, alone + ".ports[*].containerPort", "8081"},
		"no token":                                       {`{}`, podSpec + ".automountServiceAccountToken", "false"},
		"a ServiceAccount says whether there is a token": {`{template: {spec: {serviceAccountName: its, containers: [{name: app}]}}}`, podSpec + ".automountServiceAccountToken", ""},
		"no token for the agent":                         {`{template: {spec: {serviceAccountName: its, containers: [{name: app}]}}}`, sidecar + `.volumeMounts[?(@.mountPath=="/var/run/secrets/kubernetes.io/serviceaccount")].name`, "refinery-no-token"},
		"a token by the template":                        {`{template: {spec: {automountServiceAccountToken: true}}}`, alone + `.volumeMounts[?(@.mountPath=="/var/run/secrets/kubernetes.io/serviceaccount")].name`, "refinery-no-token"},
		"no token by the template":                       {`{template: {spec: {serviceAccountName: its, automountServiceAccountToken: false}}}`, alone + ".volumeMounts[*].name", "refinery-run refinery-master refinery-tls"},
		"minReadySeconds":                                {`{minReadySeconds: 7}`, ".spec.minReadySeconds", "7"},
		"progressDeadlineSeconds":                        {`{progressDeadlineSeconds: 70}`, ".spec.progressDeadlineSeconds", "70"},
		"imagePullSecrets of template":                   {`{imagePullSecrets: [{name: own}], template: {spec: {imagePullSecrets: [{name: its}, {name: all}]}}}`, podSpec + ".imagePullSecrets[*].name", "its all own"},
	} {
		t.Run(name, func(t *testing.T) {
			built, err := RefineryDeployment(refineryWith(t, f.spec), testMaster(nil), imagesToPull())
			f.check(t, built, err)
		})
	}
}

func TestHowARefinerysPodsAreReplaced(t *testing.T) {
	avoiding := func(term string) string {
		return `{template: {spec: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [` + term + `]}}}}}`
	}
	for name, test := range map[string]struct{ spec, surge, unavailable string }{
		"by default":               {`{}`, "25%", "0"},
		"as chosen":                {`{strategy: {maxSurge: 3, maxUnavailable: 10%}}`, "3", "10%"},
		"surge alone":              {`{strategy: {maxSurge: 3}}`, "3", "0"},
		"no surge":                 {`{strategy: {maxSurge: 0%}}`, "0", "1"},
		"unavailable alone":        {`{strategy: {maxUnavailable: 2}}`, "25%", "2"},
		"hostPort":                 {`{template: {spec: {containers: [{name: app, ports: [{containerPort: 80, hostPort: 80}]}]}}}`, "0", "1"},
		"hostNetwork":              {`{template: {spec: {hostNetwork: true}}}`, "0", "1"},
		"claim":                    {`{template: {spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}}}`, "0", "1"},
		"claim, several at a time": {`{strategy: {maxUnavailable: 2}, template: {spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}}}`, "0", "2"},
		"claim that can be shared": {`{strategy: {maxSurge: 1}, template: {spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}}}`, "1", "0"},
		"claim, none missing":      {`{strategy: {maxUnavailable: 0}, template: {spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}}}`, "25%", "0"},
		"a claim for each pod":     {`{template: {spec: {volumes: [{name: v, ephemeral: {}}]}}}`, "25%", "0"},
		"avoids itself":            {avoiding(`{topologyKey: host, labelSelector: {matchLabels: {app.kubernetes.io/instance: press}}}`), "0", "1"},
		"avoids every pod":         {avoiding(`{topologyKey: host, namespaceSelector: {}, labelSelector: {}}`), "0", "1"},
		"avoids others":            {avoiding(`{topologyKey: host, labelSelector: {matchLabels: {app.kubernetes.io/instance: mill}}}`), "25%", "0"},
		"avoids others elsewhere":  {avoiding(`{topologyKey: host, namespaces: [other], labelSelector: {}}`), "25%", "0"},
		"avoids its revision":      {avoiding(`{topologyKey: host, labelSelector: {}, matchLabelKeys: [pod-template-hash]}`), "25%", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			built, err := RefineryDeployment(refineryWith(t, test.spec), testMaster(nil), testImages)
			field{test.spec, ".spec.strategy.rollingUpdate.maxSurge", test.surge}.check(t, built, err)
			field{test.spec, ".spec.strategy.rollingUpdate.maxUnavailable", test.unavailable}.check(t, built, err)
		})
	}
}

func TestFieldsOfARefineryReachItsStatefulSet(t *testing.T) {
	const claim = `volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]`
	for name, f := range map[string]field{
		"replicas":                  {`{replicas: 5, statefulSet: {}}`, ".spec.replicas", "5"},
		"its pods are the same":     {`{statefulSet: {}}`, alone + ".name", "refinery-agent"},
		"its pods are selected":     {`{statefulSet: {}}`, ".spec.selector.matchLabels", `{"app.kubernetes.io/component":"refinery","app.kubernetes.io/instance":"press","app.kubernetes.io/name":"refinery"}`},
		"all pods at once":          {`{statefulSet: {}}`, ".spec.podManagementPolicy", "Parallel"},
		"names of pods":             {`{statefulSet: {}}`, ".spec.serviceName", "press"},
		"its owner":                 {`{statefulSet: {}}`, ".metadata.ownerReferences[*].uid", "uid-of-press"},
		"one pod after another":     {`{statefulSet: {}}`, ".spec.updateStrategy", `{"type":"RollingUpdate"}`},
		"strategy.maxUnavailable":   {`{statefulSet: {}, strategy: {maxUnavailable: 2}}`, ".spec.updateStrategy.rollingUpdate.maxUnavailable", "2"},
		"minReadySeconds":           {`{statefulSet: {}, minReadySeconds: 7}`, ".spec.minReadySeconds", "7"},
		"a claim":                   {`{statefulSet: {` + claim + `}}`, ".spec.volumeClaimTemplates[*].metadata.name", "data"},
		"spec of the claim":         {`{statefulSet: {` + claim + `}}`, ".spec.volumeClaimTemplates[*].spec", `{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"}`},
		"claims kept as by default": {`{statefulSet: {}}`, ".spec.persistentVolumeClaimRetentionPolicy", ""},
		"whenDeleted":               {`{statefulSet: {persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}}}`, ".spec.persistentVolumeClaimRetentionPolicy", `{"whenDeleted":"Delete"}`},
		"whenScaled":                {`{statefulSet: {persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}}}`, ".spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Delete"},
	} {
		t.Run(name, func(t *testing.T) {
			r := refineryWith(t, f.spec)
			d, err := RefineryDeployment(r, testMaster(nil), imagesToPull())
			if err != nil {
				t.Fatal(err)
			}
			built, err := RefineryStatefulSet(r, d)
			f.check(t, built, err)
		})
	}
}

func TestFieldsOfARefineryReachItsService(t *testing.T) {
	const port = `ports: [{name: http, containerPort: 8080, protocol: TCP}]`
	for name, f := range map[string]field{
		"type":            {`{` + port + `, service: {type: NodePort}}`, ".spec.type", "NodePort"},
		"headless":        {`{` + port + `, service: {headless: true}}`, ".spec.clusterIP", "None"},
		"annotations":     {`{` + port + `, service: {annotations: {a: b}}}`, ".metadata.annotations.a", "b"},
		"port by default": {`{` + port + `}`, ".spec.ports[0].port", "8080"},
		"port":            {`{ports: [{name: http, containerPort: 8080, port: 80}]}`, ".spec.ports[0].port", "80"},
		"containerPort":   {`{ports: [{name: http, containerPort: 8080, port: 80}]}`, ".spec.ports[0].targetPort", "8080"},
	} {
		t.Run(name, func(t *testing.T) { f.check(t, RefineryService(refineryWith(t, f.spec)), nil) })
	}
}

func (f field) check(t *testing.T, built any, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got := find(t, built, f.path)
	if strings.HasPrefix(f.want, "--") && strings.Contains(got, `"`+f.want+`"`) {
		return // one argument of all
	}
	if got != f.want {
		t.Errorf("%s is %q, want %q", f.path, got, f.want)
	}
}

// find returns what a JSONPath finds in an object, "" if nothing.
func find(t *testing.T, object any, path string) string {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(raw, &plain); err != nil {
		t.Fatal(err)
	}
	parser := jsonpath.New(path).AllowMissingKeys(true)
	if err := parser.Parse("{" + path + "}"); err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	if err := parser.Execute(&found, plain); err != nil {
		t.Fatal(err)
	}
	return found.String()
}

func imagesToPull() Images {
	images := testImages
	images.PullSecrets = []string{"all"}
	return images
}

// masterWith is the ClusterMaster of the other tests with more in its spec.
func masterWith(t *testing.T, spec string) *v1alpha1.ClusterMaster {
	t.Helper()
	return testMaster(func(m *v1alpha1.ClusterMaster) { parseOver(t, spec, &m.Spec) })
}

func refineryWith(t *testing.T, spec string) *v1alpha1.Refinery {
	t.Helper()
	return testRefinery(func(r *v1alpha1.Refinery) { parseOver(t, spec, &r.Spec) })
}

func parseOver(t *testing.T, text string, over any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), over); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
