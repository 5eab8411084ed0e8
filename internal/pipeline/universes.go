package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"

	"quant"
	"quant/internal/backtest"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/sqltext"
	"quant/internal/strategy"
	"quant/internal/universe"
)

// Universes returns the lists of members that the lab has, in byte order of their
// names. Errors: those of universe.ReadAll, which name the file.
func Universes(s *session.Session) ([]universe.List, error) { return readUniverses(s.UniversesFile()) }

func readUniverses(path string) ([]universe.List, error) {
	lists := []universe.List{}
	err := readRegular(path, func(r io.Reader) (err error) {
		lists, err = universe.ReadAll(r)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return []universe.List{}, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.CodeOf(err), "%s: %w", path, err).WithHint("%s", cmp.Or(quant.HintOf(err), "mend the file, or restore it from a backup"))
	}
	return lists, nil
}

// readRegular reads a file, which must be a regular one: a pipe could keep quant
// waiting for as long as nobody writes to it. fs.ErrNotExist: there is none.
func readRegular(path string, read func(io.Reader) error) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return quant.Errorf(quant.Failed, "read %s: %w", path, err).WithHint("make the file readable")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return quant.Errorf(quant.Invalid, "it is not a regular file").WithHint("name a CSV file")
	}
	return read(f)
}

// Universe returns the list of members of a name. NotFound: the lab has none.
func Universe(s *session.Session, name string) (universe.List, error) {
	lists, err := Universes(s)
	if err != nil {
		return universe.List{}, err
	}
	if at, found := findUniverse(lists, name); found {
		return lists[at], nil
	}
	var names []string
	for _, l := range lists {
		names = append(names, l.Name)
	}
	err = quant.Errorf(quant.NotFound, "the lab has no universe %q", name)
	if len(names) > 0 {
		return universe.List{}, quant.Errorf(quant.NotFound, "%w", err).WithHint("it has %s; `quant universe import %s FILE` adds one", quant.SomeOf(names, 10), name)
	}
	return universe.List{}, quant.Errorf(quant.NotFound, "%w", err).WithHint("`quant universe import %s FILE` adds it", name)
}

// findUniverse finds the list of a name in lists in the order of their names.
func findUniverse(lists []universe.List, name string) (at int, found bool) {
	return slices.BinarySearchFunc(lists, name, func(l universe.List, name string) int { return cmp.Compare(l.Name, name) })
}

// Membership is who belonged to a universe: of all days, or of one.
type Membership struct {
	Name    string            `json:"name"`
	At      *quant.Date       `json:"at"` // the day; null: all days
	Digest  quant.Text        `json:"digest"`
	Symbols int               `json:"symbols"` // of the members below
	Members []universe.Member `json:"members"`
}

// MembersOf returns the stays in the universe of a name, or those of the day at.
// NotFound: the lab has no such universe.
func MembersOf(s *session.Session, name string, at *quant.Date) (Membership, error) {
	list, err := Universe(s, name)
	if err != nil {
		return Membership{}, err
	}
	digest := list.Digest()
	if at != nil {
		list = list.On(*at)
	}
	return Membership{Name: name, At: at, Digest: quant.Text(digest), Symbols: len(list.Symbols()), Members: list.Members}, nil
}

// UniverseChange is what became of a list of members.
type UniverseChange struct {
	Name    string      `json:"name"`
	Change  string      `json:"change"` // added, replaced, unchanged or removed
	Symbols int         `json:"symbols"`
	Stays   int         `json:"stays"`
	First   *quant.Date `json:"first"` // first day of a member; null: it is removed
	Digest  quant.Text  `json:"digest"`
}

// UniverseOf says what a list of members has.
func UniverseOf(l universe.List, change string) UniverseChange {
	c := UniverseChange{Name: l.Name, Change: change, Symbols: len(l.Symbols()), Stays: len(l.Members)}
	if len(l.Members) > 0 {
		first := slices.MinFunc(l.Members, func(a, b universe.Member) int { return cmp.Compare(a.From, b.From) }).From
		c.First, c.Digest = &first, quant.Text(l.Digest())
	}
	return c
}

// ImportUniverse takes a file, or in for -, for the list of members of a name, in the
// place of the one that there was. Errors: NotFound: there is no file; those of
// universe.Read.
func ImportUniverse(ctx context.Context, s *session.Session, name, path string, in io.Reader) (UniverseChange, error) {
	if err := universe.CheckName(name); err != nil {
		return UniverseChange{}, err
	}
	var list universe.List
	read := func(r io.Reader) (err error) {
		sum := durable.NewSum()
		list, err = universe.Read(name, io.TeeReader(r, sum))
		rows := int64(len(list.Members))
		if err == nil && path != "-" {
			s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: path, Rows: &rows, Digest: quant.Text(sum.Digest())})
		}
		return err
	}
	var err error
	if path == "-" {
		err = read(in)
	} else if err = readRegular(path, read); errors.Is(err, fs.ErrNotExist) {
		return UniverseChange{}, quant.Errorf(quant.NotFound, "file %s does not exist", path).WithHint("check the path; - reads standard input")
	}
	if err != nil {
		return UniverseChange{}, quant.Errorf(quant.CodeOf(err), "%s: %w", path, err).WithHint("%s", quant.HintOf(err))
	}
	change := "added"
	err = changeUniverses(ctx, s, func(lists []universe.List) ([]universe.List, int, error) {
		i, found := findUniverse(lists, name)
		switch {
		case !found:
			return slices.Insert(lists, i, list), len(list.Members), nil
		case lists[i].Digest() == list.Digest():
			change = "unchanged"
			return nil, 0, nil
		}
		change, lists[i] = "replaced", list
		return lists, len(list.Members), nil
	})
	return UniverseOf(list, change), err
}

// RemoveUniverse removes the list of members of a name. NotFound: the lab has none.
func RemoveUniverse(ctx context.Context, s *session.Session, name string) (UniverseChange, error) {
	if _, err := Universe(s, name); err != nil {
		return UniverseChange{}, err
	}
	err := changeUniverses(ctx, s, func(lists []universe.List) ([]universe.List, int, error) {
		left := slices.DeleteFunc(slices.Clone(lists), func(l universe.List) bool { return l.Name == name })
		return left, len(lists) - len(left), nil
	})
	return UniverseChange{Name: name, Change: "removed"}, err
}

func changeUniverses(ctx context.Context, s *session.Session, do func([]universe.List) ([]universe.List, int, error)) error {
	return changeFile(ctx, s, s.UniversesFile(), func() ([]byte, int, error) {
		lists, err := Universes(s)
		if err != nil {
			return nil, 0, err
		}
		lists, changed, err := do(lists)
		if err != nil || changed == 0 || len(lists) == 0 {
			return nil, changed, err
		}
		var text bytes.Buffer
		err = universe.WriteAll(&text, lists)
		return text.Bytes(), changed, err
	})
}

// copyUniverses gives a copy of the lab its lists of members, each that a run or a stage
// of it read as it was read, by the content that the run kept. Refused: a list has
// changed since, and the run kept no copy.
func copyUniverses(ctx context.Context, s *session.Session, path string, run metastore.RunDetail, recorded []recordedRun) error {
	lists, err := Universes(s)
	if err != nil {
		return err
	}
	read := map[string]string{} // digests, by name
	for _, r := range recorded {
		for _, io := range r.io {
			name, is := strings.CutPrefix(io.Name, universeInput(""))
			if io.Direction != quant.In || io.Kind != quant.IOTable || !is || universe.CheckName(name) != nil {
				continue
			}
			if other, twice := read[name]; twice && other != string(io.Digest) {
				return quant.Errorf(quant.Refused, "run %s is not reproduced: its stages read two lists of universe %s", quant.ShortID(run.RunID), name).WithHint("reproduce the runs of its stages one by one")
			}
			read[name] = string(io.Digest)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		at, found := findUniverse(lists, name)
		if found && lists[at].Digest() == read[name] {
			continue
		}
		then, kept, err := keptUniverse(ctx, s, recorded, name, read[name])
		if err != nil {
			return err
		}
		switch now := "another now"; {
		case !kept:
			if !found {
				now = "none now"
			}
			return quant.Errorf(quant.Refused, "run %s is not reproduced: it read the list %s of universe %s and kept no copy, and the lab has %s", quant.ShortID(run.RunID), abbreviatedDigest(read[name]), name, now).
				WithHint("`quant universe import %s FILE` with the members as they were brings it back", name)
		case found:
			lists[at] = then
		default:
			lists = slices.Insert(lists, at, then)
		}
		s.Say().Notice("universe %s has changed since run %s: it is run again on the members that it read", name, quant.ShortID(run.RunID))
	}
	if len(lists) == 0 {
		return nil
	}
	var text bytes.Buffer
	if err := universe.WriteAll(&text, lists); err != nil {
		return err
	}
	if err := durable.Replace(path, 0o600, durable.Bytes(text.Bytes())); err != nil {
		return quant.Errorf(quant.Store, "copy the universes to %s: %w", path, err).WithHint("make room there")
	}
	return nil
}

// keptUniverse is the list of a digest of the members, as one of some runs kept it.
func keptUniverse(ctx context.Context, s *session.Session, runs []recordedRun, name, digest string) (list universe.List, kept bool, err error) {
	for _, r := range runs {
		artifacts, err := s.Meta.Artifacts(ctx, r.id)
		if err != nil {
			return list, false, err
		}
		at := slices.IndexFunc(artifacts, func(a quant.Artifact) bool { return a.Name == universeArtifact(name) })
		if at < 0 {
			continue
		}
		f, err := s.Artifacts().Open(ctx, artifacts[at].Digest)
		if errors.Is(err, quant.NotFound) || errors.Is(err, quant.Refused) {
			continue // gone or damaged, which doctor says: another run may have it
		}
		if err != nil {
			return list, false, err
		}
		list, err = universe.Read(name, f)
		f.Close()
		if err == nil && list.Digest() == digest {
			return list, true, nil
		}
	}
	return universe.List{}, false, nil
}

// keepUniverse keeps a list of members with a run that decides or replays by it.
func keepUniverse(ctx context.Context, s *session.Session, list universe.List) error {
	if len(list.Members) == 0 {
		return nil
	}
	var text bytes.Buffer
	if err := list.Write(&text); err != nil {
		return err
	}
	return keepArtifact(ctx, s, universeArtifact(list.Name), &text)
}

// universeRead is the input that a list of members is to a run.
func universeRead(list universe.List) quant.RunIO {
	rows := int64(len(list.Members))
	return quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: universeInput(list.Name), Rows: &rows, Digest: quant.Text(list.Digest())}
}

// universeArtifact is what a run calls the content of a list of members that it read.
func universeArtifact(name string) string { return "universe/" + name + ".csv" }

// universeInput is what a run calls a list of members that it read.
func universeInput(name string) string { return "universe:" + name }

// universesDigest is sha256:<hex> of all lists of members; "" where there is none.
func universesDigest(s *session.Session) (string, error) {
	lists, err := Universes(s)
	if err != nil || len(lists) == 0 {
		return "", err
	}
	var text bytes.Buffer
	err = universe.WriteAll(&text, lists)
	return durable.Digest(text.Bytes()), err
}

// filled is a strategy with the symbols of its universe: of type all the active ones
// of the Meta DB, of a rule all of them, of type membership all that were ever members.
func filled(ctx context.Context, s *session.Session, of strategy.Strategy) (strategy.Strategy, error) {
	switch of.Universe.Type {
	case strategy.UniverseMembership:
		list, err := Universe(s, of.Universe.Name)
		return of.WithSymbols(list.Symbols()), err
	case strategy.UniverseAll, strategy.UniverseRule:
		meta, err := s.MetaDB()
		if err != nil {
			return of, err
		}
		symbols, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
		return of.WithSymbols(symbolsOf(of, symbols)), err
	}
	return of, nil
}

// symbolsOf are the symbols of the Meta DB that a universe of type all, or a rule, has.
func symbolsOf(of strategy.Strategy, list []quant.Symbol) []string {
	var symbols []string
	for _, one := range list {
		if one.IsActive || of.Universe.Type == strategy.UniverseRule {
			symbols = append(symbols, one.Symbol)
		}
	}
	return symbols
}

// restrict keeps those out of the proposals of each day who are no members of the
// universe on it, and says and records what the members come from.
func (r *recommending) restrict(ctx context.Context) error {
	switch u := r.s.Universe; u.Type {
	case strategy.UniverseMembership:
		list := r.Members
		r.signals.Restrict(func(day quant.Date, n int) bool { return list.Has(r.signals.Symbols[n], day) })
		r.report.Inputs = append(r.report.Inputs, universeRead(list))
		r.notice("%s", membershipInWords(list))
	case strategy.UniverseRule:
		at := make([]int, len(r.signals.Days))
		values, err := r.dollarVolumes(ctx, at)
		if err != nil {
			return err
		}
		members := make([]map[int]bool, len(at))
		for k, list := range universe.Top(values, at, u.Window, u.Top) {
			members[k] = make(map[int]bool, len(list))
			for _, n := range list {
				members[k][n] = true
			}
		}
		r.signals.Restrict(func(day quant.Date, n int) bool {
			k, _ := slices.BinarySearch(r.signals.Days, day)
			return members[k][n]
		})
		r.notice("%s", ruleInWords(u))
	}
	return nil
}

// membershipInWords is what a report says of a universe of members.
func membershipInWords(list universe.List) string {
	return fmt.Sprintf("universe %s by membership as of each day: %s, %s", list.Name, quant.Count(len(list.Symbols()), "symbol"), list.Digest()[:len("sha256:")+12])
}

// membersFor is the list of members of a strategy's universe; an empty one where it has
// none. NotFound: the lab does not have it.
func membersFor(s *session.Session, of strategy.Strategy) (universe.List, error) {
	if of.Universe.Type != strategy.UniverseMembership {
		return universe.List{}, nil
	}
	return Universe(s, of.Universe.Name)
}

// changing tells a backtest of a universe that changes. Refused: a benchmark of all its
// symbols, where a rule chooses them.
func changing(r *backtest.Request, u strategy.Universe, members universe.List) error {
	switch u.Type {
	case strategy.UniverseMembership:
		r.Changing = membershipInWords(members)
		r.Member = members.Has
	case strategy.UniverseRule:
		r.Changing = ruleInWords(u)
		if r.Benchmark == backtest.EqualWeight {
			return quant.Errorf(quant.Refused, "the benchmark equal_weight holds the symbols of the universe, and a rule has others on each day").WithHint("name a symbol with --benchmark, or none")
		}
	}
	return nil
}

// ruleInWords is what a report says of a universe by a rule.
func ruleInWords(u strategy.Universe) string {
	return fmt.Sprintf("universe chosen on each day: the top %d by mean close x volume of %d sessions; symbols that the lab does not have are absent", u.Top, u.Window)
}

// dollarVolumes are close x volume as they were traded, by symbol of the universe and
// session of the calendar up to the last day; NaN: no bar. It fills in the sessions of
// the signals' days.
func (r *recommending) dollarVolumes(ctx context.Context, at []int) ([][]float64, error) {
	symbols, days := r.s.Universe.Symbols, r.signals.Days
	firstAt, _ := r.Calendar.Index(days[0])
	begin := max(firstAt-r.s.Universe.Window+1, 0)
	for k, day := range days {
		i, _ := r.Calendar.Index(day)
		at[k] = i - begin
	}
	sessions := at[len(at)-1] + 1
	values := make([][]float64, len(symbols))
	index := make(map[string]int, len(symbols))
	for n, symbol := range symbols {
		index[symbol] = n
	}
	first, last := r.Calendar.At(begin), days[len(days)-1]
	session := make([]int32, last-first+1) // by day; -1: none
	for i := range session {
		session[i] = -1
	}
	for s := range sessions {
		if i := begin + s; i < r.Calendar.Len() && r.Calendar.At(i) <= last {
			session[r.Calendar.At(i)-first] = int32(s)
		}
	}
	var names factstore.Names
	var numbers []int32
	var dates []quant.Date
	var closes, volumes []float64
	err := r.db.Columns(ctx, "SELECT symbol, ts, close, CAST(volume AS DOUBLE) FROM main."+factstore.OHLCV+
		" WHERE ts BETWEEN DATE "+sqltext.Literal(first.String())+" AND DATE "+sqltext.Literal(last.String()), nil, func(c *factstore.Chunk) error {
		numbers, dates = c.AppendNumbers(numbers[:0], 0, &names), c.AppendDates(dates[:0], 1)
		closes, volumes = c.AppendFloats(closes[:0], 2), c.AppendFloats(volumes[:0], 3)
		for row, number := range numbers {
			n, known := index[names.List[number]]
			s := session[dates[row]-first]
			if v := closes[row] * volumes[row]; known && s >= 0 && v >= 0 && !math.IsInf(v, 0) && !c.Null(2, row) && !c.Null(3, row) {
				if values[n] == nil {
					values[n] = make([]float64, sessions)
					for i := range values[n] {
						values[n][i] = math.NaN()
					}
				}
				values[n][s] = v
			}
		}
		return nil
	})
	return values, err
}
