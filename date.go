package quant

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Date is a calendar day, as days since 1970-01-01; it has no hour and no
// place. It compares and subtracts as a number.
type Date int32

// NewDate returns the day on which t is, in t's own location.
func NewDate(t time.Time) Date {
	y, m, d := t.Date()
	return Date(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// ParseDate reads exactly YYYY-MM-DD; Invalid for anything else.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, Errorf(Invalid, "date %q: want the form 2024-01-31", s).WithHint("write year, month and day: 2024-01-31")
	}
	return NewDate(t), nil
}

// Time returns the day's midnight, UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String returns the day as YYYY-MM-DD.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// MarshalJSON writes YYYY-MM-DD.
func (d Date) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads YYYY-MM-DD.
func (d *Date) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := ParseDate(s)
	*d = parsed
	return err
}

// Value is the text YYYY-MM-DD: say CAST(? AS DATE) in DuckDB's SQL.
func (d Date) Value() (driver.Value, error) { return d.String(), nil }

// Scan reads a driver's time or the text; NULL is an error (use *Date, or
// sql.Null[Date]).
func (d *Date) Scan(v any) error {
	switch v := v.(type) {
	case time.Time:
		*d = NewDate(v)
		return nil
	case string:
		parsed, err := ParseDate(v)
		*d = parsed
		return err
	default:
		return fmt.Errorf("date: cannot read %T", v)
	}
}
