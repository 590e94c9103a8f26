package e2e

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// statusWriteMetric is a counter of the API server for writes to the status of our kinds, refused ones
// included.
var statusWriteMetric = regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)

// statusWrites counts the status writes to each of our resources since the API server started, from its
// own metrics: by whomever they were made, whether or not they changed anything.
func statusWrites(ctx context.Context) map[string]int {
	GinkgoHelper()
	counts := map[string]int{"refineries": 0, "clustermasters": 0}
	for line := range strings.Lines(kubectl(ctx, "get", "--raw", "/metrics")) {
		match := statusWriteMetric.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		labels := match[1]
		for resource := range counts {
			if strings.Contains(labels, `group="`+v1alpha1.GroupVersion.Group+`"`) &&
				strings.Contains(labels, `resource="`+resource+`"`) &&
				strings.Contains(labels, `subresource="status"`) &&
				regexp.MustCompile(`verb="(PATCH|PUT|APPLY)"`).MatchString(labels) {
				n, err := strconv.ParseFloat(match[2], 64)
				Expect(err).NotTo(HaveOccurred())
				counts[resource] += int(n)
			}
		}
	}
	return counts
}

// masterWrites counts, for each Refinery of a namespace, the writes that changed what the active master
// owns: status.nodes, .authenticated, .reporter and the condition Authenticated.
type masterWrites struct {
	mu     sync.Mutex
	last   map[string]string
	counts map[string]int
}

// watchMasterWrites counts from now until the spec ends.
func watchMasterWrites(ctx context.Context, namespace string) *masterWrites {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watcher, err := k8s.Watch(ctx, &v1alpha1.RefineryList{}, client.InNamespace(namespace))
	Expect(err).NotTo(HaveOccurred())
	w := &masterWrites{last: map[string]string{}, counts: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			w.see(event)
		}
	}()
	DeferCleanup(func() {
		watcher.Stop()
		cancel()
		<-done
	})
	return w
}

func (w *masterWrites) see(event watch.Event) {
	r, ok := event.Object.(*v1alpha1.Refinery)
	if !ok || event.Type == watch.Deleted {
		return
	}
	owned := struct {
		Nodes         []v1alpha1.NodeStatus
		Authenticated *v1alpha1.AuthenticatedNodes
		Reporter      *v1alpha1.Reporter
		Condition     *metav1.Condition
	}{r.Status.Nodes, r.Status.Authenticated, r.Status.Reporter, nil}
	// Before a master has reported, the operator speaks for it in the condition.
	if r.Status.Reporter != nil {
		owned.Condition = meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAuthenticated)
	}
	text, err := json.Marshal(owned)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before, seen := w.last[r.Name]
	if !seen {
		before = `{"Nodes":null,"Authenticated":null,"Reporter":null,"Condition":null}`
	}
	if before != string(text) {
		w.counts[r.Name]++
	}
	w.last[r.Name] = string(text)
}

// of is the number of writes to one Refinery.
func (w *masterWrites) of(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[name]
}
