package pipeline_test

import (
	"testing"

	"quant/internal/factstore"
)

// Signals are read before it is known on which days a symbol of the universe has a bar. A
// day on which none has one, and signals of that day, change nothing.
func TestADayWithoutABarOfTheUniverseIsLeftOutOfWhatWasReadAhead(t *testing.T) {
	t.Parallel()
	filled := func() *lab {
		l := newLab(t)
		l.prices(`('A','2024-01-02',10),('B','2024-01-02',20),('C','2024-01-02',30),('A','2024-01-03',11),('B','2024-01-03',19),('C','2024-01-03',33),
			('A','2024-01-05',12),('B','2024-01-05',18),('C','2024-01-05',31),('A','2024-01-08',13),('B','2024-01-08',17),('C','2024-01-08',32),
			('X','2024-01-02',1),('X','2024-01-03',1),('X','2024-01-04',1),('X','2024-01-05',1),('X','2024-01-08',1),('X','2024-01-09',1)`)
		l.signals(`('A','2024-01-02',3),('B','2024-01-02',2),('C','2024-01-02',1),('A','2024-01-03',1),('B','2024-01-03',2),('C','2024-01-03',3),('A','2024-01-04',9),('B','2024-01-04',8),
			('A','2024-01-05',3),('B','2024-01-05',1),('C','2024-01-05',2),('A','2024-01-08',1),('B','2024-01-08',3),('C','2024-01-08',2)`)
		return l
	}
	l, parts := filled(), filled()
	whole := l.recommend("2024-01-02..2024-01-09")
	parts.recommend("2024-01-02..2024-01-03")
	parts.recommend("2024-01-05..2024-01-08")
	const query = `SELECT concat_ws(' ', "asof", symbol, weight, score, approved, reason) AS line FROM targets ORDER BY "asof", symbol`
	if got, want := l.text(query), parts.text(query); got != want || whole.Decisions != 4 {
		t.Errorf("%d decisions:\n%s\nin two parts:\n%s", whole.Decisions, got, want)
	}
	for _, in := range whole.Inputs {
		if in.Rows != nil && (*in.Rows == 0 || in.Digest == "" || in.FirstDate == "") {
			t.Errorf("%+v", in)
		}
	}
}

// Who writes to a file lets others read beside it until then.
func TestAWriterIsReadBesideUntilItWrites(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.prices("('A','2024-01-02',10)")
	beside, err := l.db.Beside(t.Context(), t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if days, err := factstore.Values[string](t.Context(), beside, "SELECT symbol FROM ohlcv"); err != nil || len(days) != 1 {
		t.Error(days, err)
	}
}
