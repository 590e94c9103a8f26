package controllers

import (
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Index returns what the cache finds the objects of a list by in a field, or nil.
func Index(list client.ObjectList, field string) client.IndexerFunc {
	for _, i := range indexes {
		if i.field == field && reflect.TypeOf(list).Elem().Name() == reflect.TypeOf(i.object).Elem().Name()+"List" {
			return i.extract
		}
	}
	return nil
}
