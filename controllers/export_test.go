package controllers

import (
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Index returns what the cache finds objects of a kind by in a field, or nil.
func Index(object client.Object, field string) client.IndexerFunc {
	for _, i := range indexes {
		if i.field == field && reflect.TypeOf(i.object) == reflect.TypeOf(object) {
			return i.extract
		}
	}
	return nil
}
