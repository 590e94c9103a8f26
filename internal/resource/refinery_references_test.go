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
		"to pull images":   {`{spec: {imagePullSecrets: [{name: s}]}}`, references{[]string{"s"}, own}},
		"CSI driver":       {`{spec: {volumes: [{name: v, csi: {driver: d, nodePublishSecretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"flex volume":      {`{spec: {volumes: [{name: v, flexVolume: {driver: d, secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"Azure file":       {`{spec: {volumes: [{name: v, azureFile: {secretName: s, shareName: x}}]}}`, references{[]string{"s"}, own}},
		"iSCSI":            {`{spec: {volumes: [{name: v, iscsi: {targetPortal: p, iqn: i, lun: 0, secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"RBD":              {`{spec: {volumes: [{name: v, rbd: {monitors: [m], image: i, secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"Ceph":             {`{spec: {volumes: [{name: v, cephfs: {monitors: [m], secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"Cinder":           {`{spec: {volumes: [{name: v, cinder: {volumeID: i, secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"ScaleIO":          {`{spec: {volumes: [{name: v, scaleIO: {gateway: g, system: y1, secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"StorageOS":        {`{spec: {volumes: [{name: v, storageos: {secretRef: {name: s}}}]}}`, references{[]string{"s"}, own}},
		"ephemeral":        {`{spec: {ephemeralContainers: [{name: e, image: a, envFrom: [{secretRef: {name: s}}]}]}}`, references{[]string{"s"}, own}},
		"account":          {`{spec: {serviceAccountName: other}}`, references{nil, []string{"other"}}},
		"account by alias": {`{spec: {serviceAccountName: null, serviceAccount: other}}`, references{nil, []string{"other"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := RefineryDeployment(testRefinery(withTemplate(test.template)), testMaster(nil), testImages)
			if err != nil {
				t.Fatal(err)
			}
			secrets, err := WorkloadSecrets(d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, references{secrets, WorkloadServiceAccounts(d)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
