package resource

import (
	"testing"

	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestNodesThatRunAreLetInAsLongAsTheyConnectAsNewOnesDo(t *testing.T) {
	withFlags := func(flags ...string) func(*v1.PodTemplateSpecApplyConfiguration) {
		return func(pod *v1.PodTemplateSpecApplyConfiguration) {
			agentOf(pod).Args = append(agentOf(pod).Args, flags...)
		}
	}
	for name, test := range map[string]struct {
		change func(*v1.PodTemplateSpecApplyConfiguration)
		want   bool
	}{
		"as they are made now":            {func(*v1.PodTemplateSpecApplyConfiguration) {}, true},
		"another image":                   {func(pod *v1.PodTemplateSpecApplyConfiguration) { agentOf(pod).WithImage("other") }, true},
		"the master's address as a flag":  {withFlags("--address=alpha.plant.svc:34308"), true},
		"another address as a flag":       {withFlags("--address=alpha.plant.svc:1"), false},
		"heartbeats that come in time":    {withFlags("--alive-interval=10s"), true},
		"heartbeats that come too seldom": {withFlags("--alive-interval=60s"), false},
		"an interval that is none":        {withFlags("--alive-interval=often"), false},
		"another transport": {func(pod *v1.PodTemplateSpecApplyConfiguration) {
			agentOf(pod).Args = []string{"--transport=Plaintext"}
		}, false},
		"another Secret": {func(pod *v1.PodTemplateSpecApplyConfiguration) {
			pod.Spec.WithVolumes(secretVolume(sharedVolume, "theirs", v1alpha1.SharedCertificateKey))
		}, false},
		"a Secret of the workload": {func(pod *v1.PodTemplateSpecApplyConfiguration) {
			pod.Spec.WithVolumes(secretVolume("own", "theirs", "key"))
		}, true},
		"no agent": {func(pod *v1.PodTemplateSpecApplyConfiguration) { agentOf(pod).WithName("other") }, false},
	} {
		_, running := madeFor(t, testRefinery(nil))
		_, desired := madeFor(t, testRefinery(nil))
		test.change(running)
		if got := Connects(running, desired, testMaster(nil)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if patience != protocol.DefaultAliveTimeout {
		t.Errorf("a master waits for %s at least, and here it is %s", protocol.DefaultAliveTimeout, patience)
	}
}
