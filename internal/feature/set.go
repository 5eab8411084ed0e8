package feature

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/expression"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// kernelsOfExpressions stands for the kernels of package expression in the digest of
// what a set was computed by: it is raised when one of them gives other bits.
const kernelsOfExpressions = 1

// builtIn is a set that the program brings along. A lab has a table for it once it has
// been computed.
type builtIn struct {
	version, description string
	features             func() []expression.Named
}

func builtInSets() []builtIn {
	return []builtIn{
		{"alpha158", "Qlib's Alpha158", expression.Alpha158},
		{"alpha360", "Qlib's Alpha360", expression.Alpha360},
	}
}

func isBuiltIn(version string) bool {
	return slices.ContainsFunc(builtInSets(), func(s builtIn) bool { return s.version == version })
}

// builtInSet returns a set that is built in.
func builtInSet(version string) (factstore.FeatureSet, error) {
	list := builtInSets()
	of := list[slices.IndexFunc(list, func(s builtIn) bool { return s.version == version })]
	program, err := expression.Compile(of.features())
	if err != nil {
		return factstore.FeatureSet{}, fmt.Errorf("feature version %s: %w", version, err)
	}
	s := factstore.FeatureSet{Version: version, Kind: factstore.KindExpressions, Description: of.description, KnownAt: factstore.KnownProved}
	for _, f := range program.Features() {
		s.Features = append(s.Features, expressionFeature(f))
	}
	return s, nil
}

// SetOf returns the set of a version: a lab's own, or one that is built in. NotFound:
// there is none.
func SetOf(ctx context.Context, db *factstore.DB, version string) (factstore.FeatureSet, error) {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return factstore.FeatureSet{}, err
	}
	if isBuiltIn(version) {
		return builtInSet(version)
	}
	for _, s := range sets {
		if s.Version == version {
			return s, nil
		}
	}
	_, err = Catalogue(version, sets...)
	return factstore.FeatureSet{}, err
}

// computeSet computes the features of a set that expressions define. The set is
// declared with its first facts.
func computeSet(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, s factstore.FeatureSet) (Report, error) {
	if err := db.CheckDeclared(ctx, s); err != nil {
		return Report{}, err
	}
	if stands, err := db.FeatureSet(ctx, s.Version); err == nil {
		stands.Description = cmp.Or(s.Description, stands.Description)
		s = stands // in the order of its columns, which the digests of its facts follow
	}
	named := make([]expression.Named, len(s.Features))
	for i, f := range s.Features {
		if f.Kind != factstore.KindExpressions {
			return Report{}, quant.Errorf(quant.Invalid, "feature %s@%s is not computed from bars", f.Name, s.Version).WithHint("it is of kind %s: import it again from its source", f.Kind)
		}
		named[i] = expression.Named{Name: f.Name, Text: f.Definition}
	}
	program, err := expression.Compile(named)
	if err != nil {
		return Report{}, err
	}
	c := &computation{db: db, cal: cal, req: req, what: "features " + req.Version, outputs: len(named), lookback: program.Lookback(), set: &s}
	features := &sink{table: factstore.FeaturesDaily, stored: factstore.TableOfVersion(s.Version), stamp: "computed_at", other: "feature_version = " + sqltext.Literal(s.Version)}
	var part digestPart
	for k, f := range s.Features {
		c.series = append(c.series, f.Name)
		features.columns, features.values = append(features.columns, f.Name), append(features.values, k)
		part.add(f.Name, k)
	}
	c.sinks = []*sink{features}
	definition := fmt.Sprintf("expressions %d %s", kernelsOfExpressions, factstore.DigestOf(s))
	c.slices = []slice{{factstore.FeaturesDaily, "", s.Version, definition, compactParts(part)}}
	e := &evaluation{c: c, program: program}
	e.workers.New = func() any { return program.NewWorker() }
	c.kernel = e.compute
	c.proof = func(ctx context.Context) (*Proof, error) { return e.prove(ctx, s, e.valuesOf) }
	if program.Stages() > 0 {
		c.sections = e
		e.number = map[string]int{}
	}
	report, err := c.run(ctx)
	if err == nil {
		err = e.failure()
	}
	if program.BySectors() {
		report.Notices = append(report.Notices, e.sectorNotices()...)
	}
	return report, err
}

// sectorNotices tell what the sectors are that symbols are compared within.
func (e *evaluation) sectorNotices() []string {
	list := []string{"sectors are those that the symbols have today, on every day of the past"}
	without := 0
	for symbol := range e.number {
		if e.c.req.Sectors[symbol] == "" {
			without++
		}
	}
	if without > 0 {
		list = append(list, fmt.Sprintf("%d of %d symbols have no sector, and no value that compares a sector: `quant symbols set SYMBOL --sector NAME`", without, len(e.number)))
	}
	return list
}

// evaluation computes the expressions of a set. A set whose features read other symbols
// of their session compares all symbols that have bars, also where only the rows of
// some are asked for.
type evaluation struct {
	c       *computation
	program *expression.Program
	workers sync.Pool

	compared *expression.Sections
	number   map[string]int   // of the symbols that are compared
	sector   map[string]int32 // a number for each sector; none: -1

	failed atomic.Pointer[error]
}

func (e *evaluation) failure() error {
	if err := e.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func expressionBars(s *series) *expression.Bars {
	return &expression.Bars{Session: s.session, Days: s.days, Open: s.open, High: s.high, Low: s.low, Close: s.close, Volume: s.volume, First: s.first}
}

func (e *evaluation) compute(s *series, out [][]float64) {
	w := e.workers.Get().(*expression.Worker)
	defer e.workers.Put(w)
	var err error
	if e.compared != nil {
		err = w.ComputeWith(e.compared, e.number[s.symbol], expressionBars(s), s.start, out)
	} else {
		err = w.Compute(expressionBars(s), s.start, out)
	}
	if err != nil {
		e.failed.CompareAndSwap(nil, &err)
	}
}

// compare takes the cross-sections of all symbols: of every session, or, where grown, of
// those after the one up to which the set was computed.
func (e *evaluation) compare(ctx context.Context, grown bool) error {
	c := e.c
	e.numberSectors()
	e.compared = e.program.NewSections(len(c.basis.Symbols))
	for k, symbol := range c.basis.Symbols {
		e.number[symbol] = k
	}
	since, session := quant.Date(0), int32(0)
	if grown {
		since = c.since()
		i, _ := c.cal.Index(c.cut + 1)
		session = int32(i)
	}
	for stage := range e.program.Stages() {
		w := writing{c: c}
		for part := range w.parts(c.basis.Symbols, since) {
			if err := c.basis.Read(ctx, c.db, c.cal, c.priceRequest(), part, since, &c.bars); err != nil {
				return err
			}
			err := c.eachSymbol(ctx, func(k int, s *series) {
				if grown {
					c.startOf(s, s.days, s.symbol, since) // for its first session
				}
				worker := e.workers.Get().(*expression.Worker)
				defer e.workers.Put(worker)
				if err := worker.Collect(e.compared, stage, e.number[s.symbol], e.sectorOf(s.symbol), expressionBars(s), session); err != nil {
					e.failed.CompareAndSwap(nil, &err)
				}
			})
			if err != nil {
				return err
			}
		}
		var group sync.WaitGroup
		parts := runtime.GOMAXPROCS(0)
		for part := range parts {
			group.Go(func() {
				if err := e.compared.Compare(stage, part, parts); err != nil {
					e.failed.CompareAndSwap(nil, &err)
				}
			})
		}
		group.Wait()
		if err := e.failure(); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) numberSectors() {
	e.sector = map[string]int32{}
	names := map[string]int32{}
	for _, symbol := range slices.Sorted(maps.Keys(e.c.req.Sectors)) {
		name := e.c.req.Sectors[symbol]
		if name == "" {
			continue
		}
		if _, known := names[name]; !known {
			names[name] = int32(len(names))
		}
		e.sector[symbol] = names[name]
	}
}

func (e *evaluation) sectorOf(symbol string) int32 {
	if n, known := e.sector[symbol]; known {
		return n
	}
	return -1
}

// crossDigests tell what a set whose features compare symbols is computed from: the bars
// and the sector of every symbol, now and up to the day of computation.cut.
type crossDigests struct {
	now, before []string
	last, upTo  quant.Date // the last bars
	other       bool       // a symbol's prices were on another basis
}

func (a *crossDigests) take(symbol, sector, now, before string, last, upTo quant.Date, sameBasis bool) {
	a.now = append(a.now, fmt.Sprintf("%q %q %s", symbol, sector, now))
	a.last = max(a.last, last)
	if upTo == 0 {
		return
	}
	a.before = append(a.before, fmt.Sprintf("%q %q %s", symbol, sector, before))
	a.upTo = max(a.upTo, upTo)
	a.other = a.other || !sameBasis
}

// inputsOfAll makes the inputs of every symbol those of all: a bar of one changes what
// the others are compared with. What stands is as of the last bar of all.
func (c *computation) inputsOfAll(all crossDigests, digest func(of string, first, last quant.Date, definition string) string) {
	now, before := durable.Digest([]byte(strings.Join(all.now, "\n"))), durable.Digest([]byte(strings.Join(all.before, "\n")))
	for k, s := range c.slices {
		for symbol := range c.inputs[k] {
			first := c.first[symbol]
			c.inputs[k][symbol] = digest(now, first, all.last, s.definition)
			delete(c.prefix[k], symbol)
			if all.upTo != 0 && all.upTo < all.last && !all.other {
				c.prefix[k][symbol] = digest(before, first, all.upTo, s.definition)
			}
		}
	}
	for symbol := range c.last {
		c.last[symbol] = all.last
	}
}

// growthOfAll is growth of a set whose features compare symbols.
func (c *computation) growthOfAll(symbol string) bool {
	if c.req.Force {
		return false
	}
	if _, session := c.cal.Index(c.first[symbol]); !session {
		return false
	}
	for k, s := range c.slices {
		stands, stood := c.before[k][symbol]
		if c.prefix[k][symbol] == "" {
			return false
		}
		if c.first[symbol] > c.cut && !stood {
			continue // all its bars are new
		}
		if stands.last != c.cut || stands.inputs != c.prefix[k][symbol] {
			return false
		}
		if _, ok := parseSums(s.parts, stands.sums, stands.facts); !ok {
			return false
		}
	}
	return true
}

// MixedUnits says of each feature of a set why it has no unit: it adds, or compares, what
// is measured otherwise. The values are as they were asked for.
func MixedUnits(s factstore.FeatureSet) (notices []string) {
	for _, f := range s.Features {
		if f.Kind != factstore.KindExpressions {
			continue
		}
		program, err := expression.Compile([]expression.Named{{Name: f.Name, Text: f.Definition}})
		if err != nil {
			continue
		}
		if mixed := program.Features()[0].Mixed; mixed != "" {
			notices = append(notices, fmt.Sprintf("feature %s %s: is that meant?", f.Name, mixed))
		}
	}
	return notices
}
