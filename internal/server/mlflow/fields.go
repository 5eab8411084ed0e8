package mlflow

import (
	"reflect"
	"sync"
)

// fieldTable keeps what the tags of each struct say: []field by reflect.Type.
var fieldTable sync.Map

func cachedFields(t reflect.Type) []field {
	if known, ok := fieldTable.Load(t); ok {
		return known.([]field)
	}
	all := fieldsOf(t)
	fieldTable.Store(t, all)
	return all
}
