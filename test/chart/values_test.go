package chart

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// reach says, for values, a text that is in the output and, if it is not empty, one that is not.
var reach = []struct {
	name      string
	values    []string
	contains  string
	leavesOut string
}{
	{"image tag", []string{"image.tag=1.2.3", "image.repository=example.com/r"}, "--master-image=example.com/r/master:1.2.3", ":0.1.0\n"},
	{"namespaces", []string{"watchNamespaces={a,b}"}, "--watch-namespaces=a,b", ""},
	{"rights in the namespaces only", []string{"watchNamespaces={a,b}"}, "kind: RoleBinding\nmetadata:\n  name: refinery-operator\n  namespace: a\n", "kind: ClusterRoleBinding\nmetadata:\n  name: refinery-operator\n"},
	{"issuers", []string{"allowedIssuers={Issuer/*,ClusterIssuer/plant}"}, "--allowed-issuers=Issuer/*,ClusterIssuer/plant\n", ""},
	{"cluster domain", []string{"clusterDomain=plant.test"}, "--cluster-domain=plant.test\n", "cluster.local"},
	{"annotations of Secrets", []string{"secretAnnotations={example.com/team}"}, "--secret-annotations=example.com/team\n", ""},
	{"no CRDs", []string{"crds.enabled=false"}, "kind: Deployment", "kind: CustomResourceDefinition"},
	{"CRDs are kept", nil, "helm.sh/resource-policy: keep", ""},
	{"CRDs go with the release", []string{"crds.keep=false"}, "kind: CustomResourceDefinition", "resource-policy"},
	{"no admission policy", []string{"admissionPolicy.enabled=false"}, "kind: Deployment", "ValidatingAdmissionPolicy"},
	{"deletion refused", nil, "name: refinery-operator-master-deletion", ""},
	{"deletion not refused", []string{"admissionPolicy.refuseDeletion=false"}, "refinery-operator-master-status", "master-deletion"},
	{"pull secrets", []string{"imagePullSecrets[0].name=pull"}, "imagePullSecrets:\n        - name: pull", ""},
	{"pull secrets of masters and agents", []string{"imagePullSecrets[0].name=pull", "global.imagePullSecrets={all,pull}"}, "--image-pull-secrets=pull,all\n", ""},
	{"pull secrets of all charts", []string{"global.imagePullSecrets[0].name=all"}, "imagePullSecrets:\n        - name: all", ""},
	{"no pull secrets", nil, "--image-pull-policy", "pull-secrets"},
	{"log level", []string{"log.level=debug"}, "- --log-level=debug\n", ""},
	{"log format", []string{"log.format=console"}, "- --log-format=console\n", ""},
	{"flags", []string{"extraArgs={--health-address=:9000}"}, "- --health-address=:9000\n", ""},
	{"environment", []string{"extraEnv[0].name=GOMEMLIMIT,extraEnv[0].value=200MiB"}, "env:\n        - name: GOMEMLIMIT\n          value: 200MiB\n", ""},
	{"labels of pods", []string{"podLabels.team=plant"}, "app.kubernetes.io/name: refinery-operator\n        team: plant\n", ""},
	{"labels of pods replace none", []string{"podLabels.app\\.kubernetes\\.io/component=x"}, "kind: Deployment", "component: x"},
	{"annotations of pods", []string{"podAnnotations.team=plant"}, "default-container: operator\n        team: plant\n", ""},
	{"labels of all replace none", []string{"commonLabels.app\\.kubernetes\\.io/instance=x"}, "kind: Deployment", "instance: x"},
	{"labels of what the operator writes for itself", []string{"commonLabels.team=red,commonLabels.stage=test"}, "- --labels=stage=test,team=red\n", ""},
	{"no labels", nil, "kind: Deployment", "--labels"},
	{"minReadySeconds", []string{"minReadySeconds=7"}, "minReadySeconds: 7\n", ""},
	{"progressDeadlineSeconds", []string{"progressDeadlineSeconds=70"}, "progressDeadlineSeconds: 70\n", ""},
	{"strategy", []string{"strategy.type=Recreate"}, "strategy:\n    type: Recreate\n    rollingUpdate: null\n", ""},
	{"no disruption budget", nil, "kind: Deployment", "kind: PodDisruptionBudget"},
	{"disruption budget", []string{"podDisruptionBudget.enabled=true,podDisruptionBudget.maxUnavailable=50%"}, "maxUnavailable: 50%\n", ""},
	{"spread", []string{"topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway"},
		"topologySpreadConstraints:\n        - labelSelector:\n            matchLabels:\n              app.kubernetes.io/component: operator\n", ""},
	{"spread of others", []string{"topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway," +
		"topologySpreadConstraints[0].labelSelector.matchLabels.team=plant"}, "team: plant\n          maxSkew: 1\n", ""},
	{"node", []string{"nodeSelector.pool=a"}, "nodeSelector:\n        pool: a\n", ""},
	{"taint", []string{"tolerations[0].key=a"}, "tolerations:\n        - key: a\n", ""},
	{"affinity", []string{"affinity.nodeAffinity.a=b"}, "affinity:\n        nodeAffinity:\n          a: b\n", ""},
	{"priority", []string{"priorityClassName=high"}, "priorityClassName: high\n", ""},
	{"replicas", []string{"replicas=2"}, "replicas: 2\n", ""},
	{"resources", []string{"resources.limits.memory=1Gi"}, "limits:\n            memory: 1Gi\n", ""},
	{"no metrics", []string{"metrics.enabled=false"}, "--metrics-address=0\n", "8443"},
	{"no RBAC of the operator", []string{"rbac.create=false"}, "name: refinery-operator-edit", "leader-election"},
	{"no bindings", []string{"rbac.create=false"}, "kind: ServiceAccount", "Binding\nmetadata:\n  name: refinery-operator\n"},
	{"no roles for people", []string{"rbac.userRoles.create=false"}, "kind: ClusterRoleBinding", "refinery-operator-view"},
	{"roles for people by themselves", []string{"rbac.userRoles.aggregate=false"}, "name: refinery-operator-view", "aggregate-to"},
	{"no ServiceAccount", []string{"serviceAccount.create=false"}, "serviceAccountName: refinery-operator\n", "kind: ServiceAccount\nmetadata"},
	{"another ServiceAccount", []string{"serviceAccount.name=east"}, "kind: ServiceAccount\nmetadata:\n  name: east\n", "- kind: ServiceAccount\n  name: refinery-operator\n"},
	{"pods of another ServiceAccount", []string{"serviceAccount.name=east"}, "serviceAccountName: east\n", "--release=refinery-system/east"},
	{"annotations of the ServiceAccount", []string{"serviceAccount.annotations.team=plant"}, "annotations:\n    team: plant\n", ""},
	{"name of the chart", []string{"nameOverride=ore"}, "--release=refinery-system/refinery-operator-ore\n", "app.kubernetes.io/name: refinery-operator\n"},
	{"name of the release", []string{"fullnameOverride=ore"}, "resourceNames: [ore.operator.cluster.refinery.dev]", "name: refinery-operator\n  namespace"},
	{"the release by its name", []string{"fullnameOverride=ore"}, "--release=refinery-system/ore\n", ""},
	{"registry", []string{"image.registry=example.com:5000"}, "image: example.com:5000/refinery-operator/operator:", ""},
	{"registry of all charts", []string{"global.imageRegistry=mirror.example.com", "image.registry=example.com"}, "--refinery-image=mirror.example.com/refinery-operator/refinery:", "=example.com"},
	{"no network policy", nil, "kind: Deployment", "kind: NetworkPolicy\n"},
	{"network policy", []string{"networkPolicy.enabled=true"}, "kind: NetworkPolicy\nmetadata:\n  name: refinery-operator\n", "  ingress:\n"},
	{"who reads metrics", []string{"networkPolicy.enabled=true", "networkPolicy.metrics[0].podSelector.matchLabels.app=prometheus"}, "      port: 8443\n    from:\n    - podSelector:\n        matchLabels:\n          app: prometheus\n", ""},
	{"where the API server is", []string{"networkPolicy.enabled=true", "networkPolicy.apiServer[0].ipBlock.cidr=192.0.2.1/32", "networkPolicy.apiServerPort=6443"}, "      port: 6443\n    to:\n    - ipBlock:\n        cidr: 192.0.2.1/32\n", ""},
	{"no monitors", nil, "kind: Deployment", "monitoring.coreos.com"},
	{"monitor of the operator", []string{"monitoring.serviceMonitor.enabled=true,monitoring.serviceMonitor.labels.release=p,monitoring.serviceMonitor.interval=30s"},
		"    app.kubernetes.io/version: 0.1.0\n    helm.sh/chart: refinery-operator-0.1.0\n    release: p\nspec:\n  selector:\n", "kind: PodMonitor"},
	{"interval of the operator's monitor", []string{"monitoring.serviceMonitor.enabled=true,monitoring.serviceMonitor.interval=30s"}, "insecureSkipVerify: true\n    interval: 30s\n", ""},
	{"monitors of masters and agents", []string{"monitoring.podMonitor.enabled=true,monitoring.podMonitor.labels.release=p"},
		"    release: p\nspec:\n  namespaceSelector:\n    any: true\n", "kind: ServiceMonitor"},
	{"interval of the pods' monitors", []string{"monitoring.podMonitor.enabled=true,monitoring.podMonitor.interval=1m"}, "targetLabel: refinery\n    interval: 1m\n", ""},
	{"monitors in the watched namespaces", []string{"monitoring.podMonitor.enabled=true,watchNamespaces={a,b}"}, "namespaceSelector:\n    matchNames:\n      - a\n      - b\n", "any: true"},
	{"alerts", []string{"monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.labels.release=p"}, "    release: p\nspec:\n  groups:\n", "RUNBOOKS"},
	{"alerts of this release", []string{"monitoring.prometheusRule.enabled=true,fullnameOverride=ore"}, `leader_election_master_status{name="refinery-system/ore"}`, "RELEASE"},
	{"interval of the alerts", []string{"monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.interval=1m"}, "    interval: 1m\n    name: refineries\n", ""},
	{"runbooks", []string{"monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.runbookURL=http://wiki/r/"}, "runbook_url: http://wiki/r/RefineryNodesOut.md\n", "github.com/refinery-operator/refinery-operator/blob"},
	{"days before a certificate ends", []string{"monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.certificateDays=3"}, "< 3 * 86400", "CERTIFICATE_DAYS"},
	{"digest of the operator", []string{"image.digests.operator=" + digest}, "image: refinery-operator/operator@" + digest + "\n", "/operator:"},
	{"digest of the masters", []string{"image.digests.master=" + digest}, "--master-image=refinery-operator/master@" + digest + "\n", "/master:"},
	{"digest of the agents", []string{"image.digests.refinery=" + digest}, "--refinery-image=refinery-operator/refinery@" + digest + "\n", "/refinery:"},
}

func TestChartValuesReachTheObjects(t *testing.T) {
	for _, row := range reach {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var arguments []string
			for _, value := range row.values {
				arguments = append(arguments, "--set", value)
			}
			rendered, err := template(t, arguments...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(rendered, row.contains) {
				t.Errorf("%q is not in the output", row.contains)
			}
			if row.leavesOut != "" && strings.Contains(rendered, row.leavesOut) {
				t.Errorf("%q is in the output", row.leavesOut)
			}
		})
	}
}

func TestCommonLabelsAreOnEveryObjectAndOnPods(t *testing.T) {
	rendered, err := template(t, "--set", "commonLabels.team=plant,podDisruptionBudget.enabled=true,"+
		"monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range objects(t, rendered) {
		if team, _, _ := unstructured.NestedString(o, "metadata", "labels", "team"); team != "plant" {
			t.Errorf("%s does not have the label", name)
		}
		if o["kind"] != "Deployment" {
			continue
		}
		if team, _, _ := unstructured.NestedString(o, "spec", "template", "metadata", "labels", "team"); team != "plant" {
			t.Error("pods do not have the label")
		}
		if _, selected, _ := unstructured.NestedString(o, "spec", "selector", "matchLabels", "team"); selected {
			t.Error("the Deployment selects by the label, so that it cannot be changed")
		}
	}
}

func TestExtraObjectsAreInstalledAndMayHaveTemplates(t *testing.T) {
	rendered, err := template(t, "--set-json", `extraObjects=[
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
		"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ include \"refinery-operator.name\" . }}-more\n"]`)
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, rendered)
	for _, name := range []string{"ConfigMap refinery-operator-more", "Secret refinery-operator-more"} {
		if got[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}
