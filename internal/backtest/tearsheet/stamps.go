package tearsheet

import (
	"strings"

	"quant"
)

// Stamp is what the reader must know before the figures.
type Stamp struct{ Name, Meaning string }

// Stamps are the warnings of the run, loudest first.
func (s *Sheet) Stamps() []Stamp {
	var out []Stamp
	add := func(when bool, name, meaning string) {
		if when {
			out = append(out, Stamp{name, meaning})
		}
	}
	add(s.InSample, "In-sample", "The decisions used scores of dates that their model was trained on.")
	add(s.Measured.KnownAt != "", "Known at: "+s.Measured.KnownAt, "What decided was imported: that nothing was known later, no one here can prove.")
	add(s.LagDays == 0, "Optimistic fill", "Lag 0: filled at the close that the decision had already seen.")
	unadjusted := "Prices are " + s.Basis + ": dividends and splits are not in their returns."
	for _, notice := range s.Notices { // it names the symbols
		if which, is := strings.CutPrefix(notice, "UNADJUSTED: "); is {
			unadjusted = which
		}
	}
	add(s.Basis != "adjusted" && s.Basis != "", "UNADJUSTED", unadjusted)
	if s.UniverseFixedAt != nil {
		add(true, "Universe fixed as of "+s.UniverseFixedAt.String(), "The list of symbols was chosen knowing who survived.")
	}
	add(s.Measured.Returns < 252, "Short sample", quant.Count(int(s.Measured.Returns), "return")+", fewer than the 252 of a year.")
	return out
}
