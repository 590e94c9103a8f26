package controllers_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// failing makes the writes of the given names fail.
func (p *process) failing(failures map[string]error) {
	p.writes.fail = func() error {
		writes := p.writes.since(0)
		return failures[writes[len(writes)-1]]
	}
}

func TestFailingWebhookIsShownInItsWordsAndTriedAgain(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	namespace := prepare(ctx, t)
	p := newProcess(namespace, 0, false)
	webhook := apierrors.NewInternalError(errors.New(`failed calling webhook "pods.example.com"`))
	p.failing(map[string]error{"apply Deployment press": webhook})
	var err error
	for range 10 { // until the master's objects are there
		if err = p.run(ctx, t); err != nil {
			break
		}
	}
	if !errors.Is(err, webhook) {
		t.Fatalf("got %v, want the webhook's error, which the workqueue tries again with backoff", err)
	}
	r := &v1alpha1.Refinery{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "press"}, r); err != nil {
		t.Fatal(err)
	}
	ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != v1alpha1.ReasonError || !strings.Contains(ready.Message, "pods.example.com") {
		t.Errorf("Ready is %+v, want Error in the webhook's words", ready)
	}
}

func TestRefusedStatusHidesNeitherItselfNorTheStepThatFailed(t *testing.T) {
	requireServer(t)
	ctx := context.Background()
	p := newProcess(prepare(ctx, t), 0, false)
	step := errors.New("the step failed")
	status := apierrors.NewForbidden(schema.GroupResource{Resource: "clustermasters"}, "alpha", errors.New("no right"))
	p.failing(map[string]error{"apply Secret alpha-ca": step, "status ClusterMaster alpha": status})
	if err := p.run(ctx, t); !errors.Is(err, step) || !errors.Is(err, status) {
		t.Errorf("got %v, want both %v and %v", err, status, step)
	}
}
