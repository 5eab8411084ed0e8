package quant

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// TimeLayout is how every timestamp is stored and printed: RFC 3339, UTC,
// microseconds, fixed width, so that text order is time order.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// Time is an instant in UTC with microseconds. The zero Time is SQL NULL and
// JSON null.
type Time struct{ time.Time }

// NewTime returns t in UTC, cut to microseconds.
func NewTime(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// ParseTime reads exactly TimeLayout.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(TimeLayout, s)
	if err != nil || len(s) != len(TimeLayout) {
		return Time{}, Errorf(Invalid, "time %q: want the form %s", s, TimeLayout)
	}
	return Time{t}, nil
}

// String returns the stored form, or "" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(TimeLayout)
}

// MarshalJSON writes the stored form, or null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

// UnmarshalJSON reads the stored form or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == nil {
		*t = Time{}
		return nil
	}
	var err error
	*t, err = ParseTime(*s)
	return err
}

// Value stores the fixed-width text, NULL for the zero Time.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return t.String(), nil
}

// Scan reads the fixed-width text, a driver's time, or NULL.
func (t *Time) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = Time{}
	case time.Time:
		*t = NewTime(v)
	case string:
		parsed, err := ParseTime(v)
		*t = parsed
		return err
	case []byte:
		return t.Scan(string(v))
	default:
		return fmt.Errorf("time: cannot read %T", v)
	}
	return nil
}

// Text is a text that may be absent: "" is SQL NULL and JSON null.
type Text string

// MarshalJSON writes null for "".
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// Value stores NULL for "".
func (t Text) Value() (driver.Value, error) {
	if t == "" {
		return nil, nil
	}
	return string(t), nil
}

// Scan reads text or NULL.
func (t *Text) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ""
	case string:
		*t = Text(v)
	case []byte:
		*t = Text(v)
	default:
		return fmt.Errorf("text: cannot read %T", v)
	}
	return nil
}

// JSON is a JSON document kept as text; nil is SQL NULL and JSON null.
type JSON json.RawMessage

// MarshalJSON writes the document itself, null for nil.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}

// UnmarshalJSON keeps the document; null becomes nil.
func (j *JSON) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*j = nil
		return nil
	}
	*j = append((*j)[:0], b...)
	return nil
}

// Value stores the text, NULL for nil.
func (j JSON) Value() (driver.Value, error) {
	if len(j) == 0 {
		return nil, nil
	}
	return string(j), nil
}

// Scan reads text or NULL.
func (j *JSON) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*j = nil
	case string:
		*j = JSON(v)
	case []byte:
		*j = append(JSON(nil), v...)
	default:
		return fmt.Errorf("json: cannot read %T", v)
	}
	return nil
}

// NewJSON encodes v; a value that has no JSON form is an Invalid error.
func NewJSON(v any) (JSON, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, Errorf(Invalid, "encode as json: %w", err)
	}
	return JSON(b), nil
}
