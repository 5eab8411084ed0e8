package strategy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"quant/internal/yamltext"
)

// SectorCaps is the most of equity in one sector of the symbols: one number for all, or
// numbers of their own for some. Neither changes after Parse.
type SectorCaps struct {
	Each *float64           // of every sector that By does not name; nil: those have no cap
	By   map[string]float64 // by sector
}

// otherSectors is the key of SectorCaps.Each beside those of By.
const otherSectors = "default"

// Of is the cap of a sector; false: it has none.
func (c *SectorCaps) Of(sector string) (most float64, capped bool) {
	if c == nil {
		return 0, false
	}
	if most, capped = c.By[sector]; capped {
		return most, true
	}
	if c.Each == nil {
		return 0, false
	}
	return *c.Each, true
}

// Named are the sectors that have a cap of their own, in byte order.
func (c *SectorCaps) Named() []string {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.By))
}

// MarshalJSON is what the file says: a number, or a number by sector.
func (c SectorCaps) MarshalJSON() ([]byte, error) {
	if len(c.By) == 0 {
		return json.Marshal(c.Each)
	}
	all := maps.Clone(c.By)
	if c.Each != nil {
		all[otherSectors] = *c.Each
	}
	return json.Marshal(all) // in the order of the keys
}

// caps reads a number or a number by sector. A sector that has the same cap as the
// others is not kept by name: files that mean the same have one form.
func (p *parsing) caps(where string, f *field, n ast.Node, bad func(hint, format string, args ...any)) {
	to := f.to.(**SectorCaps)
	pairs, isMap := yamltext.Mapping(n)
	if !isMap {
		if x, ok := f.number(n, "", bad); ok {
			*to = &SectorCaps{Each: &x}
		}
		return
	}
	const hint = "write sector_cap: {Technology: 0.3, default: 0.25}"
	caps, seen := &SectorCaps{By: map[string]float64{}}, map[string]bool{}
	for _, pair := range pairs {
		sector, isText := yamltext.Text(pair.Key)
		switch {
		case !isText:
			p.fail(f.path)
			p.problem(p.orSet(where, pair.Key), f.path, quoteHint(pair.Key), "%s: sector %s is %s to YAML", f.path, sourceOf(pair.Key), yamltext.KindOf(pair.Key))
			continue
		case strings.TrimSpace(sector) != sector || sector == "" || strings.ContainsFunc(sector, unicode.IsControl):
			p.fail(f.path)
			p.problem(p.orSet(where, pair.Key), f.path, hint, "%s: %q cannot be a sector", f.path, short(sector))
			continue
		case seen[sector]:
			p.fail(f.path)
			p.problem(p.orSet(where, pair.Key), f.path, "leave one of them out", "%s: sector %s stands twice", f.path, quoteOdd(sector))
			continue
		}
		seen[sector] = true
		x, ok := f.number(pair.Value, "of "+quoteOdd(sector), bad)
		switch {
		case !ok:
		case sector == otherSectors:
			caps.Each = &x
		default:
			caps.By[sector] = x
		}
	}
	if len(pairs) == 0 {
		bad(hint, "names no sector")
	}
	if p.failed[f.path] {
		return
	}
	maps.DeleteFunc(caps.By, func(_ string, most float64) bool { return caps.Each != nil && most == *caps.Each })
	if len(caps.By) == 0 {
		caps.By = nil
	}
	*to = caps
}
