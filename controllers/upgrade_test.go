package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// upgrade is a ClusterMaster with Refineries, and the operator of one release after the other at work on them.
type upgrade struct {
	*testing.T
	fixture
	names []string
	clock *clocktesting.FakePassiveClock
}

// newerImages are those of the release after.
var newerImages = resource.Images{Master: "example.com/master:2", Refinery: "example.com/refinery:2", PullPolicy: corev1.PullIfNotPresent}

const withWorkload = `template: {spec: {containers: [{name: app, image: example.com/app, resources: {limits: {cpu: "0.5"}}}]}}`

// newUpgrade has the first release at work until it has nothing to do, and all pods available.
func newUpgrade(t *testing.T, master string, refineries map[string]string) *upgrade {
	requireServer(t)
	namespace, err := newNamespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u := &upgrade{T: t, fixture: fixture{t.Context(), namespace}, clock: clocktesting.NewFakePassiveClock(time.Now())}
	objects := []client.Object{u.master("alpha", master)}
	for name, spec := range refineries {
		u.names = append(u.names, name)
		objects = append(objects, u.refinery(name, spec))
	}
	slices.Sort(u.names)
	for _, o := range objects {
		u.must(api.Create(t.Context(), o))
		t.Cleanup(func() { _ = api.Delete(t.Context(), o) })
	}
	u.run(images)
	u.rollAll()
	u.run(images)
	return u
}

func (u *upgrade) must(err error) {
	u.Helper()
	if err != nil {
		u.Fatal(err)
	}
}

// run has an operator with some images at work, and returns what it wrote.
func (u *upgrade) run(with resource.Images) []string {
	u.Helper()
	p := newProcessAt(u.namespace, 0, false, u.clock, u.names...)
	p.environment.Images = with
	u.must(p.run(u.ctx, u.T))
	return p.writes.since(0)
}

// roll does what the controller of Deployments or StatefulSets does when all pods are the current ones, and available.
func (u *upgrade) roll(name string) {
	u.Helper()
	u.must(u.available(name, *u.deployment(name).Spec.Replicas))
}

func (u *upgrade) rollAll() {
	u.Helper()
	for _, name := range append([]string{"alpha"}, u.names...) {
		u.roll(name)
	}
}

func (u *upgrade) deployment(name string) *appsv1.Deployment {
	u.Helper()
	d, err := u.podSet(name)
	u.must(err)
	return podset.Of(d)
}

func (u *upgrade) read(name string) *v1alpha1.Refinery {
	u.Helper()
	r := &v1alpha1.Refinery{}
	u.must(u.get(r, name))
	return r
}

func (u *upgrade) edit(name, patch string) {
	u.Helper()
	raw, err := yaml.YAMLToJSON([]byte(patch))
	u.must(err)
	u.must(api.Patch(u.ctx, u.read(name), client.RawPatch("application/merge-patch+json", raw)))
}

// images says what image the agents of each Refinery run.
func (u *upgrade) images() map[string]string {
	u.Helper()
	of := map[string]string{}
	for _, name := range u.names {
		pod := u.deployment(name).Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			if c.Name == resource.AgentContainer {
				of[name] = c.Image
			}
		}
	}
	return of
}

func (u *upgrade) expectImages(want map[string]string) {
	u.Helper()
	if diff := cmp.Diff(want, u.images()); diff != "" {
		u.Errorf("images of the agents (-want +got):\n%s", diff)
	}
}

// pending is reason and message of condition UpgradePending, "" without one.
func (u *upgrade) pending(name string) string {
	u.Helper()
	c := meta.FindStatusCondition(u.read(name).Status.Conditions, v1alpha1.ConditionUpgradePending)
	if c == nil {
		return ""
	}
	return c.Reason + ": " + c.Message
}

func (u *upgrade) expectPending(name, want string) {
	u.Helper()
	if got := u.pending(name); !strings.HasPrefix(got, want) || want == "" && got != "" {
		u.Errorf("Refinery %s: UpgradePending %q, want %q", name, got, want)
	}
}

func (u *upgrade) editMaster(patch string) {
	u.Helper()
	raw, err := yaml.YAMLToJSON([]byte(patch))
	u.must(err)
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: "alpha"}}
	u.must(api.Patch(u.ctx, m, client.RawPatch("application/merge-patch+json", raw)))
}

// forgetMaking makes the Deployment of press, and the status, those of a release that wrote nothing down about pods.
func (u *upgrade) forgetMaking() {
	u.Helper()
	d := u.deployment("press")
	for _, key := range []string{"asked", "revision"} {
		delete(d.Annotations, "cluster.refinery.dev/"+key)
	}
	u.must(api.Update(u.ctx, d))
	r := u.read("press")
	r.Status.ReconciledGeneration = 0
	u.must(api.Status().Update(u.ctx, r))
}

func (u *upgrade) certificateOf(name string) pki.PEMPair {
	u.Helper()
	secret := &corev1.Secret{}
	u.must(u.get(secret, name+"-tls"))
	return pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
}

// template is the pod template of a Deployment as JSON.
func (u *upgrade) template(name string) string {
	u.Helper()
	raw, err := json.Marshal(u.deployment(name).Spec.Template)
	u.must(err)
	return string(raw)
}

func TestPodsOfAWorkloadWaitForTheirOwnerWhenTheOperatorIsUpgraded(t *testing.T) {
	for kind, spec := range map[string]string{podset.Deployment: ``, podset.StatefulSet: `statefulSet: {}, `} {
		t.Run(kind, func(t *testing.T) { waitForTheirOwner(t, `{`+spec+withWorkload+`}`) })
	}
}

func waitForTheirOwner(t *testing.T, refinery string) {
	u := newUpgrade(t, `{}`, map[string]string{"press": refinery})
	before := u.template("press")
	u.run(newerImages)
	if after := u.template("press"); after != before {
		t.Fatalf("the pods were changed:\n%s\n%s", before, after)
	}
	revision := u.read("press").Status.PendingUpgrade
	u.expectPending("press", "AwaitsOwner: running pods stay as they are")
	command := fmt.Sprintf("kubectl annotate --overwrite -n %s refinery press cluster.refinery.dev/upgrade=%s", u.namespace, revision)
	if got := u.pending("press"); revision == "" || !strings.HasSuffix(got, command) {
		t.Errorf("the message is %q, want the command %q", got, command)
	}
	if writes := u.run(newerImages); len(writes) > 0 {
		t.Errorf("an operator that has just started writes %q while nothing changed", writes)
	}

	u.edit("press", `{spec: {replicas: 3}}`)
	u.run(newerImages)
	if d := u.deployment("press"); *d.Spec.Replicas != 3 || u.template("press") != before {
		t.Errorf("%d replicas, want 3 of the same pods", *d.Spec.Replicas)
	}

	u.edit("press", `{metadata: {annotations: {cluster.refinery.dev/upgrade: `+revision+`}}}`)
	u.run(newerImages)
	u.expectImages(map[string]string{"press": newerImages.Refinery})
	u.expectPending("press", "")
	if got := u.read("press").Status.PendingUpgrade; got != "" {
		t.Errorf("status.pendingUpgrade is %q after the upgrade", got)
	}

	u.roll("press")
	u.run(images) // the next one, or back, waits again
	u.expectImages(map[string]string{"press": newerImages.Refinery})
	u.expectPending("press", "AwaitsOwner")
}

func TestAChangeThatTheOwnerAsksForTakesTheUpgradeAlong(t *testing.T) {
	for name, test := range map[string]struct{ refinery, master string }{
		"template":           {refinery: `{spec: {template: {spec: {containers: [{name: app, image: example.com/app:2}]}}}}`},
		"version":            {refinery: `{spec: {version: 0.2.0}}`},
		"policy":             {refinery: `{spec: {upgradePolicy: Automatic}}`},
		"how nodes connect":  {master: `{spec: {security: {transport: ServerTLS, authentication: SharedCertificate}}}`},
		"another annotation": {refinery: `{metadata: {annotations: {example.com/a: b}}}`},
		"access":             {refinery: `{spec: {access: Suspended}}`},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpgrade(t, `{}`, map[string]string{"press": withWorkload})
			u.run(newerImages)
			u.roll("alpha")
			u.expectPending("press", "AwaitsOwner")
			if test.refinery != "" {
				u.edit("press", test.refinery)
			}
			if test.master != "" {
				u.editMaster(test.master)
			}
			u.run(newerImages)
			want := newerImages.Refinery
			if name == "another annotation" || name == "access" {
				want = images.Refinery
			}
			u.expectImages(map[string]string{"press": want})
		})
	}
}

func TestUpgradesThatGoByThemselvesArePaced(t *testing.T) {
	old, newer := images.Refinery, newerImages.Refinery
	u := newUpgrade(t, `{maxConcurrentUpgrades: 1}`, map[string]string{"a": `{}`, "b": `{replicas: 2}`, "c": `{upgradePolicy: Automatic, ` + withWorkload + `}`})
	u.run(newerImages)
	u.expectImages(map[string]string{"a": old, "b": old, "c": old})
	u.expectPending("a", "AwaitsMaster: waiting until the pods of ClusterMaster alpha are upgraded")

	u.roll("alpha")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": old, "c": old})
	u.expectPending("a", "")
	u.expectPending("b", "AwaitsOthers: waiting for others, such as Refinery a: pods of 1 are being upgraded, and spec.maxConcurrentUpgrades of ClusterMaster alpha is 1")

	u.roll("a")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": newer, "c": old})

	d := u.deployment("b")
	d.Status.ObservedGeneration, d.Status.AvailableReplicas, d.Status.ReadyReplicas = d.Generation, 1, 1
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	u.must(api.Status().Update(u.ctx, d))
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": newer, "c": old})
	u.expectPending("c", "UpgradeStopped: the pods of Refinery b were upgraded and have not come back")

	u.roll("b")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": newer, "c": newer})
}

func TestPodsThatAreLetGoTogetherTakeTurns(t *testing.T) {
	old, newer := images.Refinery, newerImages.Refinery
	workload := `{` + withWorkload + `}`
	u := newUpgrade(t, `{maxConcurrentUpgrades: 1, upgradeWindows: [{start: "00:00", duration: 15m, days: [`+time.Now().UTC().AddDate(0, 0, 2).Weekday().String()+`]}]}`,
		map[string]string{"a": workload, "b": workload, "c": workload})
	u.run(newerImages)
	u.expectImages(map[string]string{"a": old, "b": old, "c": old})
	for _, name := range u.names {
		u.edit(name, `{metadata: {annotations: {cluster.refinery.dev/upgrade: `+u.read(name).Status.PendingUpgrade+`}}}`)
	}
	u.run(newerImages) // without waiting for the master, or for a window
	u.expectImages(map[string]string{"a": newer, "b": old, "c": old})
	u.expectPending("b", "AwaitsOthers: waiting for others, such as Refinery a")

	u.roll("a")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": newer, "c": old})
}

func TestAnUpgradeThatDoesNotComeBackStopsOthersAfterARestartToo(t *testing.T) {
	u := newUpgrade(t, `{maxConcurrentUpgrades: 1}`, map[string]string{"a": `{replicas: 2, statefulSet: {}}`, "b": `{}`})
	u.run(newerImages)
	u.roll("alpha")
	u.run(newerImages)
	u.must(u.available("a", 1))
	p := newProcessAt(u.namespace, 0, false, u.clock, u.names...)
	p.environment.Images = newerImages
	u.must(p.run(u.ctx, t))
	u.expectPending("b", "AwaitsOthers")
	u.clock.SetTime(u.clock.Now().Add(601 * time.Second))
	u.must(p.run(u.ctx, t))
	const stopped = "UpgradeStopped: the pods of Refinery a were upgraded and have not come back"
	u.expectPending("b", stopped)
	u.run(newerImages)
	u.expectPending("b", stopped)
	u.expectImages(map[string]string{"a": newerImages.Refinery, "b": images.Refinery})

	u.roll("a")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newerImages.Refinery, "b": newerImages.Refinery})
}

func TestUpgradesThatGoByThemselvesBeginInWindows(t *testing.T) {
	old, newer := images.Refinery, newerImages.Refinery
	opens := time.Now().UTC().Truncate(time.Minute).Add(2 * time.Hour)
	master := fmt.Sprintf(`{maxConcurrentUpgrades: 1, upgradeWindows: [{start: "%s", duration: 1h}]}`, opens.Format("15:04"))
	u := newUpgrade(t, master, map[string]string{"a": `{}`, "b": `{}`, "c": `{replicas: 2}`, "d": `{}`})
	u.must(u.available("c", 1)) // something works there
	u.must(u.available("d", 0))
	u.clock.SetTime(opens.Add(-time.Second))
	u.run(newerImages)
	u.roll("alpha")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": old, "b": old, "c": old, "d": newer})
	u.expectPending("c", "AwaitsWindow: waiting until "+opens.Format(time.RFC3339)+", by spec.upgradeWindows of ClusterMaster alpha")

	u.clock.SetTime(opens.Add(time.Hour - time.Second))
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": old, "c": newer, "d": newer})
	u.clock.SetTime(opens.Add(time.Hour)) // the one that has begun goes on
	u.roll("a")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": old, "c": newer, "d": newer})
	u.expectPending("b", "AwaitsWindow: waiting until "+opens.AddDate(0, 0, 1).Format(time.RFC3339))
}

// One whose nodes are kept out, or that did not work before, keeps nobody waiting.
func TestAnUpgradeOfWhatDoesNotWorkStopsNoOther(t *testing.T) {
	newer := newerImages.Refinery
	u := newUpgrade(t, `{maxConcurrentUpgrades: 1}`, map[string]string{"a": `{}`, "b": `{access: Suspended}`, "c": `{}`})
	for _, name := range []string{"a", "b"} {
		d := u.deployment(name)
		d.Status.AvailableReplicas, d.Status.ReadyReplicas = 0, 0
		u.must(api.Status().Update(u.ctx, d))
	}
	u.run(newerImages)
	u.roll("alpha")
	u.run(newerImages)
	u.expectImages(map[string]string{"a": newer, "b": newer, "c": newer})
}

// What the owner asks for is compared across versions of the operator.
func TestNothingThatReachesNoPodTakesAnUpgradeAlong(t *testing.T) {
	u := newUpgrade(t, `{}`, map[string]string{"press": withWorkload})
	before := version.Version
	t.Cleanup(func() { version.Version = before })
	version.Version = "0.2.0-rc.1"
	u.edit("press", `{spec: {replicas: 3, access: Suspended}}`)
	u.run(newerImages)
	u.expectImages(map[string]string{"press": images.Refinery})
	u.expectPending("press", "AwaitsOwner")
}

// A Deployment of a release that wrote nothing down about its pods is held too, unless its owner changed the Refinery meanwhile, or
// its nodes would not be let in.
func TestPodsOfAReleaseBeforeAreHeldToo(t *testing.T) {
	old, newer := images.Refinery, newerImages.Refinery
	for name, test := range map[string]struct{ refinery, master, later, laterMaster, want string }{
		"nothing else changed":                           {want: old},
		"the owner changed it while no operator worked":  {refinery: `{spec: {version: 0.2.0}}`, want: newer},
		"the owner changes it while it is held":          {later: `{spec: {version: 0.2.0}}`, want: newer},
		"the owner scales it while it is held":           {later: `{spec: {replicas: 3}}`, want: old},
		"the owner names another certificate":            {later: `{spec: {certificateSecretRef: {name: own}}}`, want: newer},
		"nodes have to connect in another way":           {laterMaster: `{spec: {security: {transport: ServerTLS, authentication: SharedCertificate}}}`, want: newer},
		"the master is given another port":               {laterMaster: `{spec: {service: {port: 4444}}}`, want: old},
		"the owner changed it, and the pass ended early": {refinery: `{spec: {version: 0.2.0}}`, master: "absent", want: newer},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpgrade(t, `{}`, map[string]string{"press": withWorkload})
			u.forgetMaking()
			if test.refinery != "" {
				u.edit("press", test.refinery)
			}
			if test.master == "absent" { // the operator has to wait before it comes to the pods
				p := newProcessAt(u.namespace, 0, false, u.clock, "press")
				p.environment.Images = newerImages
				p.environment.Client = interceptor.NewClient(api, interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
						if _, ok := o.(*v1alpha1.ClusterMaster); ok {
							return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
						}
						return c.Get(ctx, key, o, options...)
					}})
				for range 2 {
					_ = p.reconciles[0](u.ctx)
				}
			}
			u.run(newerImages)
			if test.later != "" {
				u.must(api.Create(u.ctx, u.tlsSecret("own", u.certificateOf("press"))))
				u.edit("press", test.later)
			}
			if test.laterMaster != "" {
				u.editMaster(test.laterMaster)
			}
			u.run(newerImages)
			u.expectImages(map[string]string{"press": test.want})
		})
	}
}

func TestWhatNodesNeedToKnowOfTheirMasterRestartsNoPod(t *testing.T) {
	u := newUpgrade(t, `{}`, map[string]string{"press": withWorkload})
	before := u.template("press")
	m := &v1alpha1.ClusterMaster{}
	u.must(u.get(m, "alpha"))
	m.Spec.Service.Port, m.Spec.Protocol.AliveIntervalSeconds, m.Spec.Protocol.AliveTimeoutSeconds = 4444, 2, 5
	u.must(api.Update(u.ctx, m))
	u.run(images)
	if after := u.template("press"); after != before {
		t.Errorf("the pods were changed:\n%s\n%s", before, after)
	}
	u.expectPending("press", "")
	told := &corev1.ConfigMap{}
	u.must(u.get(told, "alpha-nodes"))
	got, err := masterfile.Parse([]byte(told.Data[masterfile.Name]))
	want := masterfile.Settings{Address: "alpha." + u.namespace + ".svc:4444", AliveInterval: 2 * time.Second, AliveTimeout: 5 * time.Second}
	if err != nil || got != want {
		t.Errorf("nodes are told %+v, %v; want %+v", got, err, want)
	}
}

// The agents of a release before go by the address that they were started with.
func TestPodsThatWouldNotFindTheirMasterAreReplaced(t *testing.T) {
	u := newUpgrade(t, `{}`, map[string]string{"press": withWorkload})
	d := u.deployment("press")
	agent := &d.Spec.Template.Spec.InitContainers[0]
	agent.Args = append([]string{"--address=alpha." + u.namespace + ".svc:34308"}, agent.Args...)
	d.Annotations = map[string]string{}
	raw, err := json.Marshal(map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": d.Name, "namespace": d.Namespace,
		"labels": d.Labels, "ownerReferences": d.OwnerReferences}, "spec": d.Spec})
	u.must(err)
	u.must(api.Patch(u.ctx, d, client.RawPatch(types.ApplyPatchType, raw), client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership))
	before := u.template("press")
	u.run(images)
	if u.template("press") != before {
		t.Fatal("the pods were changed, though they find their master")
	}
	u.expectPending("press", "AwaitsOwner")

	m := &v1alpha1.ClusterMaster{}
	u.must(u.get(m, "alpha"))
	m.Spec.Service.Port = 4444
	u.must(api.Update(u.ctx, m))
	u.run(images)
	if u.template("press") == before {
		t.Error("the pods were not changed, though they do not find their master any more")
	}
	u.expectPending("press", "")
}
