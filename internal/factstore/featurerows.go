package factstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// FeatureRelation is what stands after FROM to read features of a version side by
// side: symbol TEXT, ts DATE, and a DOUBLE column of its name for each, NULL where
// it has no value; a row where any of them has one, in no order. It holds until
// facts change: where nothing but the table of the version has a value of these
// features, it is that table alone.
func (db *DB) FeatureRelation(ctx context.Context, version string, names ...string) (string, error) {
	wide, have, err := db.wide(ctx, version)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		have = have && slices.Contains(wide.names, name)
	}
	if !have {
		return featureRelation([]wideVersion{wide}, version, names...), nil
	}
	var other bool
	err = db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+factTable(FeaturesOther)+" WHERE feature_version = "+sqltext.Literal(version)+" AND feature_name IN ("+sqltext.Literals(names)+"))").Scan(&other)
	if err != nil {
		return "", db.failure(ctx, "look for features", err)
	}
	if other {
		return featureRelation([]wideVersion{wide}, version, names...), nil
	}
	list := identifiers(names)
	return "(SELECT symbol, ts, " + list + " FROM " + factTable(wide.table()) + " WHERE coalesce(" + list + ") IS NOT NULL)", nil
}

func identifiers(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = sqltext.Identifier(name)
	}
	return strings.Join(list, ", ")
}

// FeatureRows is what stands after FROM to read one feature as rows of features_daily,
// with its columns, in no order. It is planned as fast however many sets the file has.
func (db *DB) FeatureRows(ctx context.Context, version, name string) (string, error) {
	wide, have, err := db.wide(ctx, version)
	if err != nil {
		return "", err
	}
	rows := "SELECT symbol, ts, feature_name, feature_value, feature_version, computed_at FROM " + factTable(FeaturesOther) +
		" WHERE feature_version = " + sqltext.Literal(version) + " AND feature_name = " + sqltext.Literal(name)
	if have && slices.Contains(wide.names, name) {
		rows = wide.rows(name, factTable(wide.table())) + " UNION ALL " + rows
	}
	return "(" + rows + ")", nil
}

// rows selects a feature of the table as rows of features_daily.
func (w wideVersion) rows(name, from string) string {
	column := sqltext.Identifier(name)
	return "SELECT symbol, ts, " + sqltext.Literal(name) + " AS feature_name, " + column + " AS feature_value, " + sqltext.Literal(w.version) +
		" AS feature_version, computed_at FROM " + from + " WHERE " + column + " IS NOT NULL"
}

// allRows selects all features of the table as rows of features_daily, in one pass. On a
// lake each branch of a UNION asks the catalog for the files of its table again, which
// takes longer than reading them.
func (w wideVersion) allRows(from string) string {
	return "SELECT symbol, ts, feature_name, feature_value, " + sqltext.Literal(w.version) + " AS feature_version, computed_at FROM (SELECT symbol, ts, unnest([" + sqltext.Literals(w.names) +
		"]) AS feature_name, unnest([" + identifiers(w.names) + "]) AS feature_value, computed_at FROM " + from + ") WHERE feature_value IS NOT NULL"
}

// VersionFeatures are features of a version.
type VersionFeatures struct {
	Version string
	Names   []string
}

// FeatureWriters returns the runs that wrote the finite values of features, oldest
// first, of the days for which where holds: a condition on ts. Refused as
// RequireExplained, where no run wrote one.
func (db *DB) FeatureWriters(ctx context.Context, of []VersionFeatures, where string) ([]string, error) {
	var stamped, rows []string
	for _, f := range of {
		var finite []string
		wide, _, err := db.wide(ctx, f.Version)
		if err != nil {
			return nil, err
		}
		for _, name := range f.Names {
			if slices.Contains(wide.names, name) {
				finite = append(finite, "isfinite("+sqltext.Identifier(name)+")")
			}
		}
		if finite != nil {
			of, err := db.stampsOf(ctx, wide, where, strings.Join(finite, " OR "))
			if err != nil {
				return nil, err
			}
			stamped = append(stamped, of)
		}
		these := "feature_version = " + sqltext.Literal(f.Version) + " AND feature_name IN (" + sqltext.Literals(f.Names) + ") AND isfinite(feature_value)"
		stamped = append(stamped, "SELECT computed_at FROM "+factTable(FeaturesOther)+" WHERE ("+where+") AND "+these)
		rows = append(rows, these)
	}
	var stamps []int64
	unstamped := false
	err := db.Columns(ctx, "SELECT DISTINCT computed_at FROM ("+strings.Join(stamped, " UNION ALL ")+")", nil, func(c *Chunk) error {
		for i, at := range c.AppendBigints(nil, 0) {
			if c.Null(0, i) {
				unstamped = true
			} else {
				stamps = append(stamps, at)
			}
		}
		return nil
	})
	if err != nil {
		return nil, db.failure(ctx, "find the writers", err)
	}
	committed, err := db.Committed(ctx, FeaturesDaily)
	if err != nil {
		return nil, err
	}
	if unstamped || slices.ContainsFunc(stamps, func(at int64) bool { return committed[at] == "" }) {
		if err := db.RequireExplained(ctx, FeaturesDaily, "", "("+where+") AND ("+strings.Join(rows, " OR ")+")"); err != nil {
			return nil, err
		}
	}
	return writersAmong(committed, stamps), nil
}

// stampsOf is a query for the stamps of the rows of a version for which where and some
// hold. Most tables have few stamps, and of each the first such row tells: then not all
// values are read, as they are where there are many.
func (db *DB) stampsOf(ctx context.Context, wide wideVersion, where, some string) (string, error) {
	const few = 8
	from := " FROM " + factTable(wide.table()) + " WHERE (" + where + ")"
	all := "SELECT computed_at" + from + " AND (" + some + ")"
	var each []string
	whole := false
	err := db.Columns(ctx, "SELECT DISTINCT computed_at"+from, nil, func(c *Chunk) error {
		for i, at := range c.AppendBigints(nil, 0) {
			whole = whole || c.Null(0, i)
			stamp := fmt.Sprintf("make_timestamp(%d)", at)
			each = append(each, "SELECT "+stamp+" AS computed_at WHERE EXISTS (SELECT 1"+from+" AND computed_at = "+stamp+" AND ("+some+"))")
		}
		return nil
	})
	if err != nil {
		return "", db.failure(ctx, "find the writers", err)
	}
	if whole || len(each) == 0 || len(each) > few {
		return all, nil
	}
	return strings.Join(each, " UNION ALL "), nil
}

// ValueDigest tells of the values of one column: of the rows (symbol, ts, value)
// where it is a finite number, how many there are, their digest as DB.Digest has it,
// and their first and last day, "" of none.
type ValueDigest struct {
	Rows        int64
	Digest      string
	First, Last quant.Text
}

// ValueSums adds up rows of several columns for the ValueDigest of each. The zero
// value has none.
type ValueSums struct {
	columns []valueSum
	texts   []uint64 // hashes of the names
	keys    []uint64 // hashes of (symbol, ts)
}

type valueSum struct {
	RowSum
	first, last quant.Date
}

// Add adds rows: the number of each symbol in names, its day, and its value in each
// column. The names and the number of columns are those of the time before.
func (s *ValueSums) Add(names *Names, symbols []int32, days []quant.Date, columns ...[]float64) {
	for _, text := range names.List[len(s.texts):] {
		s.texts = append(s.texts, hashText(text))
	}
	if s.columns == nil {
		s.columns = make([]valueSum, len(columns))
	}
	s.keys = s.keys[:0]
	for i, symbol := range symbols {
		s.keys = append(s.keys, combine(s.texts[symbol], mix(uint64(uint32(days[i])))))
	}
	for j, column := range columns {
		s.columns[j].add(s.keys, days, column)
	}
}

func (s *valueSum) add(keys []uint64, days []quant.Date, column []float64) {
	a, b, rows := s.a, s.b, s.rows
	for i, x := range column {
		if x-x != 0 { // NaN or infinite
			continue
		}
		if day := days[i]; rows == 0 {
			s.first, s.last = day, day
		} else {
			s.first, s.last = min(s.first, day), max(s.last, day)
		}
		rows++
		h := combine(keys[i], hashFloat(x))
		a.add(h)
		b.add(combine(mix(h), hashOfOne))
	}
	s.a, s.b, s.rows = a, b, rows
}

// Digests tell of each column; none where no rows were added.
func (s *ValueSums) Digests() []ValueDigest {
	list := make([]ValueDigest, len(s.columns))
	for j := range s.columns {
		c := &s.columns[j]
		list[j].Rows, list[j].Digest = c.Digest()
		if c.rows > 0 {
			list[j].First, list[j].Last = quant.Text(c.first.String()), quant.Text(c.last.String())
		}
	}
	return list
}
