package curator

import (
	"math/bits"

	"quant"
	"quant/internal/calendar"
)

// Loaded is what CheckQuality finds, and price.EmptySessions, after an ingest that
// filled an empty table with more than req.DeepBars bars: they were all seen on their
// way in, and need not be read again. It is about all symbols. known: it was such an
// ingest, and it is committed.
func (r Report) Loaded(cal *calendar.Calendar, req QualityRequest) (report QualityReport, empty []quant.Date, known bool) {
	if r.stored == nil || req.DeepBars == 0 || r.stored.rows <= req.DeepBars {
		return report, nil, false
	}
	q := &quality{QualityRequest: req, cal: cal}
	q.report = QualityReport{Calendar: cal.Name(), Symbols: int64(len(r.Symbols)), Bars: r.stored.rows, Findings: []Finding{}}
	var sessions, some symbolDays
	for i := range cal.Len() {
		sessions.set(int(cal.At(i)))
	}
	for _, name := range r.Symbols {
		of := r.stored.symbols[name]
		var held, outside span
		for k, word := range of.words {
			at := of.base + k
			session := sessions.word(at)
			held.addDays(at, word&session)
			outside.addDays(at, word&^session)
			if word != 0 {
				some.reach(at)
				some.words[at-some.base] |= word
			}
		}
		q.judge(name, dayCount{of.n, of.first, of.last}.span(), held, span{}, outside, of.raw.span(), of.idle.span())
	}
	q.sort()
	for _, d := range cal.Sessions(r.stored.bounds()) {
		if some.word(int(d)>>6)>>(int(d)&63)&1 == 0 {
			empty = append(empty, d)
		}
	}
	return q.report, empty, true
}

// bounds are the first day of all and the last.
func (c *coverage) bounds() (first, last quant.Date) {
	begun := false
	for _, of := range c.symbols {
		if !begun {
			first, last, begun = quant.Date(of.first), quant.Date(of.last), true
		}
		first, last = min(first, quant.Date(of.first)), max(last, quant.Date(of.last))
	}
	return first, last
}

// word are the days of a word, in words since 1970-01-01.
func (s *symbolDays) word(at int) uint64 {
	if at < s.base || at >= s.base+len(s.words) {
		return 0
	}
	return s.words[at-s.base]
}

func (c dayCount) span() (s span) {
	if s.n = c.n; c.n > 0 {
		s.first, s.last = maybeDate{V: quant.Date(c.first), Valid: true}, maybeDate{V: quant.Date(c.last), Valid: true}
	}
	return s
}

// addDays adds the days of a word, which lies behind those that were added before.
func (s *span) addDays(at int, word uint64) {
	if word == 0 {
		return
	}
	dayAt := func(bit int) maybeDate { return maybeDate{V: quant.Date(at<<6 + bit), Valid: true} }
	if s.n == 0 {
		s.first = dayAt(bits.TrailingZeros64(word))
	}
	s.n += int64(bits.OnesCount64(word))
	s.last = dayAt(bits.Len64(word) - 1)
}
