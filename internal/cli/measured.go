package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/strategy"
)

// What quant's own commands record of their runs, so that a search finds them
// by settings and results (docs/recording.md). It is stored with the run's end.

// logParams records settings; what is empty or too long for a param is left out.
func (e *Env) logParams(pairs ...string) {
	var b metastore.Batch
	for i := 0; i < len(pairs); i += 2 {
		if name, value := pairs[i], pairs[i+1]; value != "" && len(value) <= quant.MaxRecordValue {
			b.Params = append(b.Params, quant.Param{Name: name, Value: value})
		}
	}
	if e.Run != nil {
		e.Run.Log(b)
	}
}

// logMeasured records the numbers of a result as metrics, by their JSON names
// with prefix before them: those of the struct itself, not of structs within it.
// What is NULL or no number is left out.
func (e *Env) logMeasured(prefix string, step int, result any) {
	doc, err := json.Marshal(result)
	if err != nil || e.Run == nil {
		return
	}
	var members map[string]any
	if json.Unmarshal(doc, &members) != nil {
		return
	}
	var b metastore.Batch
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if value, ok := members[name].(float64); ok {
			b.Metrics = append(b.Metrics, quant.MetricPoint{Name: prefix + name, Step: int64(step), Value: value, LoggedAt: quant.NewTime(e.Now())})
		}
	}
	e.Run.Log(b)
}

// logStrategy records the settings of a strategy: each by the last part of its
// key where no other key ends in it (top_k), else by the whole key (signal.type).
func (e *Env) logStrategy(s strategy.Strategy) {
	leaf := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	ends := map[string]int{}
	for _, key := range strategy.Keys() {
		ends[leaf(key.Key)]++
	}
	var pairs []string
	for _, set := range s.Settings() {
		name := set.Key
		if ends[leaf(name)] == 1 {
			name = leaf(name)
		}
		if set.Value != "null" {
			pairs = append(pairs, name, set.Value)
		}
	}
	e.logParams(pairs...)
}

// decimals writes numbers with commas between them.
func decimals(list []float64) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strings.Join(texts, ",")
}

// listOf writes things with commas between them.
func listOf[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, ",")
}
