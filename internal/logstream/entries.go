package logstream

import (
	"math"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// Counts is how many entries were logged to a run.
type Counts struct {
	RunID     quant.Text `json:"run_id"` // "": every line named its own
	Params    int        `json:"params"`
	Metrics   int        `json:"metrics"` // points
	Tags      int        `json:"tags"`
	Removed   int        `json:"tags_removed"`
	Notes     int        `json:"notes"`
	Artifacts int        `json:"artifacts"`
}

// Add counts the entries of a batch.
func (c *Counts) Add(b metastore.Batch) {
	c.Params += len(b.Params)
	c.Metrics += len(b.Metrics)
	c.Tags += len(b.Tags)
	c.Notes += len(b.Notes)
	c.Artifacts += len(b.Artifacts)
}

// Outputs is what was written, table by table.
func (c Counts) Outputs() []quant.RunIO {
	var list []quant.RunIO
	for _, written := range []struct {
		table string
		rows  int
	}{{"run_params", c.Params}, {"run_metric_points", c.Metrics}, {"run_tags", c.Tags + c.Removed}, {"run_notes", c.Notes}, {"run_artifacts", c.Artifacts}} {
		if rows := int64(written.rows); rows > 0 {
			list = append(list, quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: written.table, Rows: &rows})
		}
	}
	return list
}

// split cuts NAME=VALUE in two and checks the name.
func split(noun, arg string) (name, value string, err error) {
	name, value, found := strings.Cut(arg, "=")
	if !found {
		return "", "", quant.Errorf(quant.Usage, "%s %q is not of the form NAME=VALUE", noun, clipped(arg)).
			WithHint("quant log %s NAME=VALUE", noun)
	}
	return name, value, quant.ValidateRecordName(noun, name)
}

// Metrics reads points at a step from NAME=VALUE, all or none. Errors: Usage for
// another form, Invalid for a name that breaks a rule and for a value that is no
// finite number.
func Metrics(args []string, step int64) ([]quant.MetricPoint, error) {
	var list []quant.MetricPoint
	for _, arg := range args {
		name, text, err := split("metric", arg)
		if err != nil {
			return nil, err
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return nil, quant.Errorf(quant.Invalid, "metric %q: %q is not a finite number", name, clipped(text)).
				WithHint("leave the point out, or log what happened as a tag")
		}
		list = append(list, quant.MetricPoint{Name: name, Value: value, Step: step})
	}
	return list, nil
}

// Params reads params from NAME=VALUE, all or none. Errors: Usage for another
// form, Invalid for a name that breaks a rule.
func Params(args []string) ([]quant.Param, error) {
	var list []quant.Param
	for _, arg := range args {
		name, value, err := split("param", arg)
		if err != nil {
			return nil, err
		}
		list = append(list, quant.Param{Name: name, Value: value})
	}
	return list, nil
}

// Tags reads tags from NAME=VALUE, all or none. Errors: as of Params.
func Tags(args []string) ([]quant.Tag, error) {
	var list []quant.Tag
	for _, arg := range args {
		name, value, err := split("tag", arg)
		if err != nil {
			return nil, err
		}
		list = append(list, quant.Tag{Name: name, Value: value})
	}
	return list, nil
}
