// Package eventlog makes one event with a count of events that are equal, as the events API means it: client-go does so by all that an
// event says of the object, its resource version included, which is another one after each write of status, and by nothing of its note.
package eventlog

import (
	"crypto/sha256"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
)

// maxKnown bounds how many different events are remembered. What is forgotten costs another Event.
const maxKnown = 4096

// Recorder records events. It is safe for concurrent use.
type Recorder struct {
	recorder events.EventRecorder
	scheme   *runtime.Scheme

	mu sync.Mutex
	// versions are the resource versions that objects had when something was first said of them.
	versions map[said]string
}

// said is all that makes an event another one.
type said struct {
	object               types.UID
	kind, reason, action string
	note                 [sha256.Size]byte
}

// New returns a Recorder that has said nothing yet. scheme has the kinds of all objects that events are about.
func New(recorder events.EventRecorder, scheme *runtime.Scheme) *Recorder {
	return &Recorder{recorder: recorder, scheme: scheme, versions: map[said]string{}}
}

// Eventf records an event. One that was recorded before is about the object as it was then, and so counts as the same.
func (r *Recorder) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, arguments ...any) {
	note = fmt.Sprintf(note, arguments...)
	if about, err := reference.GetReference(r.scheme, regarding); err == nil {
		regarding = r.asFirstSaid(about, said{object: about.UID, kind: eventType, reason: reason, action: action, note: sha256.Sum256([]byte(note))})
	}
	r.recorder.Eventf(regarding, related, eventType, reason, action, "%s", note)
}

func (r *Recorder) asFirstSaid(about *corev1.ObjectReference, s said) *corev1.ObjectReference {
	r.mu.Lock()
	defer r.mu.Unlock()
	version, known := r.versions[s]
	if !known {
		if len(r.versions) >= maxKnown {
			clear(r.versions)
		}
		version = about.ResourceVersion
		r.versions[s] = version
	}
	about = about.DeepCopy()
	about.ResourceVersion = version
	return about
}
