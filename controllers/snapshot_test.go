package controllers_test

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// snapshot answers a read as the one before of the same object in the same pass, until something is written: the operator reads
// from its cache, as often as it likes, and here each read would be a request. What others change between two reads of one pass is
// not seen; the Ginkgo specs, whose operator has its cache, are for that.
type snapshot struct {
	client.Client
	writes *writeCounter
	// at is how much had been written when answers were read.
	at      int
	answers map[string]answer
}

type answer struct {
	object client.Object
	err    error
}

// begin forgets all, since a pass begins.
func (s *snapshot) begin() { s.answers, s.at = map[string]answer{}, s.writes.total() }

func (s *snapshot) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if s.answers == nil || s.writes.total() != s.at {
		s.begin()
	}
	kind, err := s.GroupVersionKindFor(o)
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%T %s %s", o, kind, key)
	known, ok := s.answers[id]
	if !ok {
		known.err = s.Client.Get(ctx, key, o, options...)
		known.object = o.DeepCopyObject().(client.Object)
		if known.err == nil || apierrors.IsNotFound(known.err) {
			s.answers[id] = known
		}
		return known.err
	}
	reflect.ValueOf(o).Elem().Set(reflect.ValueOf(known.object.DeepCopyObject()).Elem())
	return known.err
}
