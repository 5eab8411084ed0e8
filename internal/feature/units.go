package feature

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
)

// Features can be computed by several processes that one of them stores: each unit
// computes some symbols and stages their values (StageValues); then Features, given the
// units, takes each value from there in place of computing it. What a unit computed
// stands only for a symbol whose inputs have the same digest when it is stored, so what
// stands afterwards does not depend on the units: whatever they lack, or computed of
// other bars, is computed where it is stored. Features that compare symbols are computed there, too, for each of
// them takes the bars of all.

// Units are runs that have staged values.
type Units struct {
	List []factstore.Unit
	// Succeeded tells which of these runs have ended SUCCESS.
	Succeeded func(ctx context.Context, runIDs []string) (map[string]bool, error)
}

// barsInUnit is about how many bars a unit computes: so few that several processes come
// out even, and so many that its start does not count. It does not depend on the number
// of processes, and so neither does what a unit is.
const barsInUnit = 300_000

// leastUnits is into how many units fewer bars are divided, of a symbol each at least.
const leastUnits = 4

// Group is what one unit computes.
type Group struct {
	Symbols []string // in byte order
	// Fingerprint names the symbols and what they are computed from: what a unit of the
	// same one has staged need not be computed again.
	Fingerprint string
}

// Divide divides the symbols that a request would compute whole among units; none
// where there is nothing that units could do. Errors: those that Features has before it computes.
func Divide(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (groups []Group, err error) {
	req.instead = func(_ context.Context, c *computation) error {
		if c.sections != nil || len(c.changed) < 2 {
			return nil
		}
		size := min(c.symbolsAtATime(barsInUnit), (len(c.changed)+leastUnits-1)/leastUnits)
		for symbols := range slices.Chunk(c.changed, size) {
			h := sha256.New()
			for _, symbol := range symbols {
				for n, s := range c.slices {
					_, _ = fmt.Fprintln(h, s.table, s.name, s.version, symbol, c.inputs[n][symbol])
				}
			}
			groups = append(groups, Group{symbols, sum(h)})
		}
		return nil
	}
	_, err = Features(ctx, db, cal, req)
	return groups, err
}

// StageValues computes the values of the symbols of a request of which any would be
// computed, and stages them: it stores none. Errors: those of Features; Invalid: the
// features compare symbols, so that a unit cannot compute them.
func StageValues(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, to *factstore.OutputsWriter) (Report, StagedNote, error) {
	note := StagedNote{Parts: []stagedPart{}}
	req.instead = func(ctx context.Context, c *computation) error {
		if c.sections != nil {
			return quant.Errorf(quant.Invalid, "%s compare symbols: they are computed of all at once", c.what).WithHint("leave --workers out")
		}
		if err := c.stage(ctx, to, &note); err != nil {
			return err
		}
		return c.describe(ctx)
	}
	report, err := Features(ctx, db, cal, req)
	return report, note, err
}

// StagedNote says what a unit has staged.
type StagedNote struct {
	Parts []stagedPart `json:"parts"`
}

// Rows counts the bars whose values are staged.
func (n StagedNote) Rows() (rows int64) {
	for _, part := range n.Parts {
		for _, s := range part.Symbols {
			rows += int64(s.Bars)
		}
	}
	return rows
}

// stagedPart is a relation of values: the bars of these symbols in their order, each
// with the place of its symbol, its day and, for each output, the bits of its value.
type stagedPart struct {
	Name    string         `json:"name"`
	Symbols []stagedSymbol `json:"symbols"`
}

// stagedSymbol is a symbol whose values are staged, and what they were computed from.
type stagedSymbol struct {
	Symbol string   `json:"symbol"`
	Bars   int      `json:"bars"`
	Inputs []string `json:"inputs"` // by slice, as fact_inputs has them
}

func partName(n int) string { return fmt.Sprintf("values_%d", n) }

// valueColumn holds the bits of a value, not the value: a file of numbers may keep
// neither the sign of 0 nor what tells apart the kinds of no number.
func valueColumn(output int) string { return fmt.Sprintf("x%d", output) }

// stage computes and stages the symbols that are to be computed whole.
func (c *computation) stage(ctx context.Context, to *factstore.OutputsWriter, note *StagedNote) error {
	var out [][]float64
	for symbols := range slices.Chunk(c.changed, c.symbolsAtATime(c.barsAtATime())) {
		if err := c.basis.Read(ctx, c.db, c.cal, c.priceRequest(), symbols, 0, &c.bars); err != nil {
			return err
		}
		b := &c.bars
		out = outputs(out, c.outputs, len(b.Days))
		if err := c.eachSymbol(ctx, func(k int, s *series) {
			of := make([][]float64, c.outputs)
			for n := range of {
				of[n] = out[n][b.From[k]:b.From[k+1]]
			}
			c.kernel(s, of)
		}); err != nil {
			return err
		}
		part := stagedPart{Name: partName(len(note.Parts)), Symbols: []stagedSymbol{}}
		for k, symbol := range b.Symbols {
			staged := stagedSymbol{Symbol: symbol, Bars: b.From[k+1] - b.From[k], Inputs: []string{}}
			for n := range c.slices {
				staged.Inputs = append(staged.Inputs, c.inputs[n][symbol])
			}
			part.Symbols = append(part.Symbols, staged)
		}
		var numbers []int32
		for k := range b.Symbols {
			numbers = append(numbers, slices.Repeat([]int32{int32(k)}, b.From[k+1]-b.From[k])...)
		}
		columns := []factstore.Column{{Name: "n", Integers: numbers}, {Name: "ts", Dates: b.Days}}
		for n := range c.outputs {
			bits := make([]int64, len(b.Days))
			for i, x := range out[n] {
				bits[i] = int64(math.Float64bits(x))
			}
			columns = append(columns, factstore.Column{Name: valueColumn(n), Bigints: bits})
		}
		if len(b.Days) > 0 {
			if _, err := to.WriteColumns(ctx, part.Name, columns...); err != nil {
				return err
			}
		}
		note.Parts = append(note.Parts, part)
	}
	return nil
}

// staged are values that units have staged.
type staged struct {
	parts  []openPart
	loaded map[string]*stagedValues // by symbol, of the part that is stored now
}

// openPart is a part of which some symbols are still what they were.
type openPart struct {
	outputs *factstore.Outputs
	stagedPart
	valid map[string]bool // symbols
}

type stagedValues struct {
	days   []quant.Date
	values [][]float64 // by output
}

// openStaged finds which staged values are those that would be computed now.
func (c *computation) openStaged(units []*factstore.Outputs) error {
	c.staged = &staged{}
	taken := map[string]bool{}
	for _, o := range units {
		var note StagedNote
		if err := json.Unmarshal(o.Note, &note); err != nil {
			return quant.Errorf(quant.Store, "the outputs of run %s are no values of features: %w", quant.ShortID(o.RunID), err)
		}
		for _, part := range note.Parts {
			open := openPart{outputs: o, stagedPart: part, valid: map[string]bool{}}
			for _, s := range part.Symbols {
				same := len(s.Inputs) == len(c.slices) && !taken[s.Symbol]
				for n := 0; same && n < len(c.slices); n++ {
					same = s.Inputs[n] == c.inputs[n][s.Symbol]
				}
				if same {
					open.valid[s.Symbol], taken[s.Symbol] = true, true
				}
			}
			c.staged.parts = append(c.staged.parts, open)
		}
	}
	computed := c.kernel
	c.kernel = func(s *series, out [][]float64) {
		v := c.staged.loaded[s.symbol]
		if v == nil || !slices.Equal(v.days, s.days) {
			computed(s, out)
			return
		}
		for n := range out {
			copy(out[n], v.values[n])
		}
	}
	return nil
}

// chunk divides symbols into those of each staged part and the others, which are
// divided as they would be without.
func (c *computation) chunk(symbols []string, others func([]string) func(func([]string) bool)) func(func(openPart, []string) bool) {
	return func(yield func(openPart, []string) bool) {
		left := symbols
		if c.staged != nil {
			for _, part := range c.staged.parts {
				var of []string
				for _, symbol := range symbols {
					if part.valid[symbol] {
						of = append(of, symbol)
					}
				}
				if len(of) > 0 && !yield(part, of) {
					return
				}
			}
			left = slices.DeleteFunc(slices.Clone(symbols), func(symbol string) bool {
				return slices.ContainsFunc(c.staged.parts, func(p openPart) bool { return p.valid[symbol] })
			})
		}
		for part := range others(left) {
			if !yield(openPart{}, part) {
				return
			}
		}
	}
}

// load reads the values of a part into memory, in place of those of the part before.
// Store: the part is not what its unit says.
func (c *computation) load(ctx context.Context, part openPart) error {
	if c.staged == nil {
		return nil
	}
	c.staged.loaded = nil
	relation := ""
	if part.outputs != nil {
		relation = factstore.OutputsRelation([]*factstore.Outputs{part.outputs}, part.Name)
	}
	if relation == "" {
		return nil
	}
	columns := "n, ts"
	for n := range c.outputs {
		columns += ", " + valueColumn(n)
	}
	var numbers []int32
	var days []quant.Date
	var bits []int64
	values := make([][]float64, c.outputs)
	err := c.db.Columns(ctx, "SELECT "+columns+" FROM "+relation, nil, func(chunk *factstore.Chunk) error {
		numbers, days = chunk.AppendIntegers(numbers, 0), chunk.AppendDates(days, 1)
		for n := range values {
			bits = chunk.AppendBigints(bits[:0], 2+n)
			for _, b := range bits {
				values[n] = append(values[n], math.Float64frombits(uint64(b)))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.staged.loaded = map[string]*stagedValues{}
	from := 0
	for k, s := range part.Symbols {
		to := from + s.Bars
		if s.Bars < 0 || to > len(days) || slices.ContainsFunc(numbers[from:to], func(n int32) bool { return n != int32(k) }) {
			return quant.Errorf(quant.Store, "the staged values of run %s are not those of %s", quant.ShortID(part.outputs.RunID), s.Symbol).WithHint("run the command again")
		}
		v := &stagedValues{days: days[from:to]}
		for n := range values {
			v.values = append(v.values, values[n][from:to])
		}
		c.staged.loaded[s.Symbol], from = v, to
	}
	return nil
}
