package curator

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"quant/internal/price"
)

// What is known of bars that were seen on their way into an empty table is what
// reading them again finds: missing sessions, days that are none, adjusted closes on
// some days only, days without volume, a session on which nothing has a bar.
func TestBarsSeenOnTheirWayInAreJudgedAsStoredOnes(t *testing.T) {
	calendar := exchange(t, "XNYS")
	var text strings.Builder
	text.WriteString("symbol,date,open,high,low,close,volume,adj_close\n")
	at, _ := calendar.Index(18263)
	for s := range 7 {
		for k := range 90 + s {
			d := calendar.At(at + k)
			switch {
			case k == 40: // nothing has a bar
				continue
			case s == 1 && k%9 == 4:
				continue
			case s == 2 && k == 0:
				d -= 700 // long before, a day of a week end among them
			case s == 3 && k%30 == 7:
				d -= (d - 2) % 7 // the Saturday before
			}
			adjusted, volume := "10", 100
			if s == 4 && k < 3 || s == 5 {
				adjusted = ""
			}
			if s == 6 && k%11 == 0 {
				volume = 0
			}
			fmt.Fprintf(&text, "S%d,%s,10,12,9,11,%d,%s\n", s, d, volume, adjusted)
		}
	}
	for _, format := range []string{"csv", "parquet"} {
		t.Run(format, func(t *testing.T) {
			l := newLab(t)
			path := l.file("bars.csv", text.String())
			if format == "parquet" {
				path = l.parquet("bars.parquet", "SELECT * FROM read_csv('"+path+"', types = {'adj_close': 'DOUBLE', 'date': 'DATE'})")
			}
			r := l.mustIngest(nil, path)
			req := DefaultQuality()
			req.DeepBars = 100
			got, empty, known := r.Loaded(calendar, req)
			if !known {
				t.Fatal("nothing is known")
			}
			want, err := CheckQuality(t.Context(), l.db, calendar, req)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			for _, check := range []string{MissingSessions, OutsideCalendar, AdjustedPartly, Unadjusted, ZeroVolume} {
				if !strings.Contains(fmt.Sprint(lines(want)), check) {
					t.Errorf("no %s is found: %q", check, lines(want))
				}
			}
			wanted, err := price.EmptySessions(t.Context(), l.db, calendar, r.Symbols)
			if err != nil || len(wanted) == 0 || !reflect.DeepEqual(empty, wanted) {
				t.Errorf("empty sessions %v, %v; want %v", empty, err, wanted)
			}
			// A file of all that is stored says it again.
			again := l.mustIngestDirectly(path)
			if got, empty, known := again.Loaded(calendar, req); again.RowsUnchanged == 0 || !known || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(empty, wanted) {
				t.Errorf("again, %d unchanged: known %v, got  %+v\nwant %+v", again.RowsUnchanged, known, got, want)
			}
			// Beside bars that were there before, too few is known.
			more := l.mustIngestDirectly(l.file("more.csv", "symbol,date,open,high,low,close,volume,adj_close\nA,2020-01-02,10,12,9,11,100,11\n"))
			req.DeepBars = -1
			if _, _, known := more.Loaded(calendar, req); known || more.RowsInserted != 1 {
				t.Error("the other bars are not known, and are said to be")
			}
		})
	}
}

// mustIngestDirectly has a small file read directly beside stored bars, too.
func (l *lab) mustIngestDirectly(path string) Report {
	l.Helper()
	l.run++
	p, err := Request{RunID: fmt.Sprintf("run-%d", l.run), Files: []string{path}, MaxRejectRatio: 1, Now: clock}.plan()
	if err != nil {
		l.Fatal(err)
	}
	inputs, err := Inspect(p.Files)
	if err != nil {
		l.Fatal(err)
	}
	in := &ingest{plan: p, db: l.db, inputs: inputs}
	defer in.drop(l.Context())
	if err := in.direct(l.Context()); err != nil {
		l.Fatal(err)
	}
	return in.report
}
