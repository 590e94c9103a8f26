package resource

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTemplateThatTakesWhatTheOperatorNeedsIsRefused(t *testing.T) {
	tests := map[string]struct{ template, message string }{
		"no object":               {`[1]`, "spec.template is not an object: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		"another type":            {`{spec: {containers: {name: app}}}`, "spec.template is not a valid PodTemplateSpec: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"},
		"unknown field":           {`{spec: {contaners: []}}`, `spec.template is not a valid PodTemplateSpec: unknown field "contaners"`},
		"agent's image":           {`{spec: {containers: [{name: refinery-agent, image: mine, args: [x]}]}}`, "spec.template changes args, image of container refinery-agent: only its resources can be chosen"},
		"agent beside":            {`{spec: {containers: [{name: app, image: a}, {name: refinery-agent, resources: {}}]}}`, "spec.template has a container refinery-agent in spec.containers; the agent is in spec.initContainers here"},
		"agent before":            {`{spec: {initContainers: [{name: refinery-agent, image: mine}]}}`, "spec.template has a container refinery-agent in spec.initContainers; the agent is in spec.containers here"},
		"agent removed":           {`{spec: {containers: [{name: refinery-agent, $patch: delete}]}}`, "spec.template removes container refinery-agent: it belongs to the operator"},
		"all replaced":            {`{spec: {$patch: replace, containers: [{name: app, image: a}]}}`, "spec.template removes container refinery-agent: it belongs to the operator"},
		"agent's env":             {`{spec: {containers: [{name: refinery-agent, env: [{name: A, value: b}]}]}}`, "spec.template changes env of container refinery-agent: only its resources can be chosen"},
		"agent's mounts":          {`{spec: {containers: [{name: refinery-agent, volumeMounts: [{name: x, mountPath: /x}]}]}}`, "spec.template changes volumeMounts of container refinery-agent: only its resources can be chosen"},
		"certificate":             {`{spec: {volumes: [{name: refinery-tls, secret: {secretName: other}}]}}`, "spec.template changes volume refinery-tls: names of volumes that begin with refinery- belong to the operator"},
		"volume removed":          {`{spec: {volumes: [{name: refinery-run, $patch: delete}]}}`, "spec.template changes volume refinery-run: names of volumes that begin with refinery- belong to the operator"},
		"volume to be":            {`{spec: {volumes: [{name: refinery-shared, emptyDir: {}}]}}`, "spec.template changes volume refinery-shared: names of volumes that begin with refinery- belong to the operator"},
		"name like ours":          {`{spec: {volumes: [{name: refinery-mine, emptyDir: {}}]}}`, "spec.template changes volume refinery-mine: names of volumes that begin with refinery- belong to the operator"},
		"agent's port":            {`{spec: {containers: [{name: app, image: a, ports: [{containerPort: 8080}, {containerPort: 8081}]}]}}`, "spec.template has port 8081 in container app: 8081 and 8082 are the agent's; choose another port"},
		"agent's port, no name":   {`{spec: {initContainers: [{image: a, ports: [{containerPort: 8081}]}]}}`, "spec.template has port 8081 in container without a name: 8081 and 8082 are the agent's; choose another port"},
		"agent's other port":      {`{spec: {initContainers: [{name: before, image: a, ports: [{containerPort: 8082}]}]}}`, "spec.template has port 8082 in container before: 8081 and 8082 are the agent's; choose another port"},
		"no name":                 {`{spec: {volumes: [{secret: {secretName: s3cret}}]}}`, "spec.template has a list item without its key, such as the name of a container, a variable or a volume"},
		"one variable twice":      {`{spec: {containers: [{name: app, image: a, env: [{name: A, value: b}, {name: B, value: $(A)}, {name: A, value: c}]}]}}`, "spec.template has variable A twice in container app, and $(A) in between: give the first another name"},
		"one port, two addresses": {`{spec: {containers: [{name: app, image: a, ports: [{containerPort: 80, hostIP: 10.0.0.1}, {containerPort: 80, hostIP: 10.0.0.2}]}]}}`, "spec.template has port 80/TCP twice in container app: list it once"},
		"one port twice":          {`{spec: {containers: [{name: app, image: a, ports: [{containerPort: 80, name: a}, {containerPort: 80, name: b, protocol: TCP}]}]}}`, "spec.template has port 80/TCP twice in container app: list it once"},
		"spec taken away":         {`{spec: null}`, "spec.template removes container refinery-agent: it belongs to the operator"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := RefineryDeployment(testRefinery(withTemplate(test.template)), testMaster(nil), testImages)
			var refused *TemplateError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a TemplateError", err)
			}
			if diff := cmp.Diff(test.message, refused.Message); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortOfTheRelayIsTheAgentsOnlyWhereThereIsARelay(t *testing.T) {
	const template = `template: {spec: {containers: [{name: app, image: a, ports: [{containerPort: 8083}]}]}}`
	_, err := RefineryDeployment(refineryWith(t, `{agent: {relay: {port: 8083}}, `+template+`}`), testMaster(nil), testImages)
	const want = "spec.template has port 8083 in container app: 8081, 8082 and 8083 are the agent's; choose another port"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := RefineryDeployment(refineryWith(t, `{`+template+`}`), testMaster(nil), testImages); err != nil {
		t.Error(err)
	}
}

func TestTemplateWithoutContainersLeavesTheAgentAlone(t *testing.T) {
	d, err := RefineryDeployment(testRefinery(withTemplate(`{spec: {nodeSelector: {disk: fast}, containers: [{name: refinery-agent, resources: {limits: {memory: 1Gi}}}]}}`)),
		testMaster(nil), testImages)
	if err != nil {
		t.Fatal(err)
	}
	spec := d.Spec.Template.Spec
	got := []any{spec.NodeSelector, len(spec.InitContainers), len(spec.Containers), *spec.Containers[0].Name, spec.Containers[0].Resources.Limits.Memory().String()}
	if diff := cmp.Diff([]any{map[string]string{"disk": "fast"}, 0, 1, AgentContainer, "1Gi"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTemplateIsReadAsTheAPIServerReadsIt(t *testing.T) {
	const app = podSpec + ".containers[0]"
	for name, f := range map[string]field{
		"a field in another case":      {`{spec: {NodeName: a}}`, podSpec + ".nodeName", "a"},
		"a list in another case":       {`{spec: {containers: [{name: app, Env: [{name: A, value: b}]}]}}`, app + ".env[0].value", "b"},
		"of one variable the last":     {`{spec: {containers: [{name: app, env: [{name: A, value: b}, {name: B, value: $$(A)}, {name: A, value: c}]}]}}`, app + ".env[*].value", "$$(A) c"},
		"one port said twice":          {`{spec: {containers: [{name: app, ports: [{containerPort: 80}, {containerPort: 80, protocol: TCP}]}]}}`, app + ".ports[*].containerPort", "80"},
		"what is empty is not kept":    {`{spec: {tolerations: [], containers: [{name: app, args: []}]}}`, app + ".args", ""},
		"an empty object may say much": {`{spec: {volumes: [{name: v, emptyDir: {}}]}}`, podSpec + `.volumes[?(@.name=="v")].emptyDir`, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			built, err := RefineryDeployment(testRefinery(withTemplate(f.spec)), testMaster(nil), testImages)
			f.check(t, built, err)
		})
	}
}
