package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
)

// What quant's own commands record of their runs, so that a search finds them
// by settings and results (docs/recording.md). It is stored with the run's end.

// logParams records settings, names and values by turns; what is empty or too
// long for a param is left out.
func logParams(s *session.Session, pairs ...string) {
	var b metastore.Batch
	for i := 0; i < len(pairs); i += 2 {
		if name, value := pairs[i], pairs[i+1]; value != "" && len(value) <= quant.MaxRecordValue {
			b.Params = append(b.Params, quant.Param{Name: name, Value: value})
		}
	}
	s.Log(b)
}

// logMeasured records the numbers of a result as metrics, by their JSON names
// with prefix before them: those of the struct itself, not of structs within it.
// What is NULL or no number is left out.
func logMeasured(s *session.Session, prefix string, step int, result any) {
	doc, err := json.Marshal(result)
	if err != nil {
		return
	}
	var members map[string]any
	if json.Unmarshal(doc, &members) != nil {
		return
	}
	var b metastore.Batch
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if value, ok := members[name].(float64); ok {
			b.Metrics = append(b.Metrics, quant.MetricPoint{Name: prefix + name, Step: int64(step), Value: value, LoggedAt: quant.NewTime(s.Now())})
		}
	}
	s.Log(b)
}

// logStrategy records the settings of a strategy: each by the last part of its
// key where no other key ends in it (top_k), else by the whole key (signal.type).
func logStrategy(s *session.Session, of strategy.Strategy) {
	names := paramNames()
	var pairs []string
	for _, set := range of.Settings() {
		if set.Value != "null" {
			pairs = append(pairs, names[set.Key], set.Value)
		}
	}
	logParams(s, pairs...)
}

// paramNames are what the keys of a strategy are recorded as.
func paramNames() map[string]string {
	leaf := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	ends := map[string]int{}
	for _, key := range strategy.Keys() {
		ends[leaf(key.Key)]++
	}
	names := map[string]string{}
	for _, key := range strategy.Keys() {
		names[key.Key] = key.Key
		if ends[leaf(key.Key)] == 1 {
			names[key.Key] = leaf(key.Key)
		}
	}
	return names
}

// settingsOf are the settings of a strategy, by key, as logStrategy recorded them.
func settingsOf(params []quant.Param) map[string]string {
	recorded := map[string]string{}
	for _, p := range params {
		recorded[p.Name] = p.Value
	}
	set := map[string]string{}
	for key, name := range paramNames() {
		if v, is := recorded[name]; is {
			set[key] = v
		}
	}
	return set
}

// recordMeta notes how many rows of a table of the Meta DB were changed, unless
// none was.
func recordMeta(s *session.Session, table string, rows int64) {
	if rows > 0 {
		s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: table, Rows: &rows})
	}
}

// decimals writes numbers with commas between them.
func decimals(list []float64) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = decimal(v)
	}
	return strings.Join(texts, ",")
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// listOf writes things with commas between them.
func listOf[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, ",")
}
