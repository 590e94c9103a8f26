package eventlog

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

// log is a recorder that notes what an event is about, and its note.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) Eventf(regarding, _ runtime.Object, _, reason, _, note string, arguments ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	about := regarding.(*corev1.ObjectReference)
	l.lines = append(l.lines, fmt.Sprintf("%s %s at %s: %s: %s", about.Kind, about.Name, about.ResourceVersion, reason, fmt.Sprintf(note, arguments...)))
}

func TestEqualEventsAreAboutTheObjectAsItWas(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	l := &log{}
	r := New(l, scheme)
	say := func(version, reason, note string) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "alpha", UID: "uid", ResourceVersion: version}}
		r.Eventf(object, nil, corev1.EventTypeWarning, reason, "Reconcile", "%s", note)
	}
	say("1", "Rejected", "100% refused")
	say("2", "Rejected", "100% refused")
	say("3", "Rejected", "by a quota")
	say("4", "Contested", "100% refused")
	say("5", "Rejected", "by a quota")
	if diff := cmp.Diff([]string{
		"ConfigMap alpha at 1: Rejected: 100% refused",
		"ConfigMap alpha at 1: Rejected: 100% refused",
		"ConfigMap alpha at 3: Rejected: by a quota",
		"ConfigMap alpha at 4: Contested: 100% refused",
		"ConfigMap alpha at 3: Rejected: by a quota",
	}, l.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestItForgetsBeforeItHoldsTooMuch(t *testing.T) {
	r := New(&log{}, clientgoscheme.Scheme)
	for i := range 2*maxKnown + 1 {
		r.Eventf(&corev1.ConfigMap{}, nil, corev1.EventTypeNormal, "Ready", "Reconcile", "%d", i)
	}
	if len(r.versions) > maxKnown {
		t.Errorf("holds %d", len(r.versions))
	}
}
