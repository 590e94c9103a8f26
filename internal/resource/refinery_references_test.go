package resource

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatTheTemplateBringsIntoThePods(t *testing.T) {
	type references struct{ Secrets, ServiceAccounts []string }
	own := []string{"press-refinery"}
	tests := map[string]struct {
		template string
		want     references
	}{
		"none":             {`{spec: {containers: [{name: app, image: a}]}}`, references{nil, own}},
		"volume":           {`{spec: {volumes: [{name: v, secret: {secretName: s}}]}}`, references{[]string{"s"}, own}},
		"projected":        {`{spec: {volumes: [{name: v, projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}}]}}`, references{[]string{"s"}, own}},
		"variable":         {`{spec: {containers: [{name: app, image: a, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: B, value: b}]}]}}`, references{[]string{"s"}, own}},
		"all variables":    {`{spec: {initContainers: [{name: i, image: a, envFrom: [{secretRef: {name: s}}, {configMapRef: {name: c}}]}]}}`, references{[]string{"s"}, own}},
		"each once":        {`{spec: {volumes: [{name: v, secret: {secretName: s}}, {name: w, secret: {secretName: s}}, {name: x, secret: {secretName: a}}]}}`, references{[]string{"a", "s"}, own}},
		"account":          {`{spec: {serviceAccountName: other}}`, references{nil, []string{"other"}}},
		"account by alias": {`{spec: {serviceAccountName: null, serviceAccount: other}}`, references{nil, []string{"other"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := RefineryDeployment(testRefinery(withTemplate(test.template)), testMaster(nil), testImages)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, references{WorkloadSecrets(d), WorkloadServiceAccounts(d)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
