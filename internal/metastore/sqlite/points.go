package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"

	"quant"
	"quant/internal/metastore/relational"
)

// pointsAtOnce is the most points that one statement inserts, and a power of 2:
// many enough that the call of the statement costs little beside its rows.
const pointsAtOnce = 256

// rowsAtOnce is how many of so many points the next statement inserts: a power of
// 2, so that a connection keeps the few statements that there are.
func rowsAtOnce(points int) int {
	n := pointsAtOnce
	for n > points {
		n /= 2
	}
	return n
}

// Points is documented at relational.Dialect.
func (dialect) Points() relational.Points { return &pointRows{} }

// pointRows is rows of points of one metric that one statement inserts. What is the
// same in all of them is bound once, and a point is numbered after the first one.
// The memory is that of the statement before.
type pointRows struct {
	rows   int
	args   []driver.NamedValue
	at     quant.Time // of the last row
	atText driver.Value
	once   bool // the time is the same in all rows
}

// pointStatements is the text of the statements by their pointForm: few, and each is
// made once.
var pointStatements sync.Map

// pointForm is what the text of a statement depends on.
type pointForm struct {
	rows int
	once bool
}

func (r *pointRows) bind(v driver.Value) {
	r.args = append(r.args, driver.NamedValue{Ordinal: len(r.args) + 1, Value: v})
}

// Of is documented at relational.Points.
func (r *pointRows) Of(runID, name string, first int64, at quant.Time, left int) int {
	r.args = r.args[:0]
	r.rows = rowsAtOnce(left)
	r.bind(runID)
	r.bind(name)
	r.bind(first)
	if r.once = !at.IsZero(); r.once {
		r.bind(r.text(at))
	}
	return r.rows
}

// text is a time as it is stored.
func (r *pointRows) text(at quant.Time) driver.Value {
	if r.atText == nil || !at.Equal(r.at.Time) {
		r.at, r.atText = at, at.String()
	}
	return r.atText
}

// Add is documented at relational.Points.
func (r *pointRows) Add(step int64, value float64, at quant.Time) {
	r.bind(step)
	r.bind(value)
	if !r.once {
		r.bind(r.text(at))
	}
}

// insertPoints is the statement for rows of a form.
func insertPoints(form pointForm) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO run_metric_points (` + relational.TableColumns()["run_metric_points"] + `) VALUES `)
	for i := range form.rows {
		if i > 0 {
			b.WriteString(", ")
		}
		if form.once {
			fmt.Fprintf(&b, "(?1, ?2, ?3 + %d, ?%d, ?%d, ?4)", i, 5+2*i, 6+2*i)
		} else {
			fmt.Fprintf(&b, "(?1, ?2, ?3 + %d, ?%d, ?%d, ?%d)", i, 4+3*i, 5+3*i, 6+3*i)
		}
	}
	return b.String()
}

// Store is documented at relational.Points. It binds to the driver's connection: what
// database/sql does with every argument takes as long as SQLite with a row.
func (r *pointRows) Store(ctx context.Context, q relational.Querier) error {
	form := pointForm{r.rows, r.once}
	statement, known := pointStatements.Load(form)
	if !known {
		statement, _ = pointStatements.LoadOrStore(form, insertPoints(form))
	}
	conn, ok := q.(*sql.Conn)
	if !ok {
		return fmt.Errorf("points are stored outside a transaction: %T", q)
	}
	return conn.Raw(func(c any) error {
		_, err := c.(driver.ExecerContext).ExecContext(ctx, statement.(string), r.args)
		return err
	})
}
