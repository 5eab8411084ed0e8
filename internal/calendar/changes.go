package calendar

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
)

// Kind says what a change makes of a day.
type Kind string

// Closed makes of a session none, Extra of another day one.
const (
	Closed Kind = "closed"
	Extra  Kind = "session"
)

// Change is what somebody knows of a day of an exchange and the embedded
// calendar does not.
type Change struct {
	Calendar string     `json:"calendar"` // XNYS or XKRX
	Day      quant.Date `json:"day"`
	Kind     Kind       `json:"kind"`
	Reason   quant.Text `json:"reason"` // may be ""
}

// The bounds of a file of changes.
const (
	maxFile   = 1 << 20 // bytes
	maxReason = 200     // bytes
)

// Validate reports, as Invalid, what no change can be: of a calendar that is no
// exchange's, on a day that it does not know, of another kind, with a reason that
// is no line of text.
func (c Change) Validate() error {
	of, err := Open(c.Calendar)
	if err != nil {
		return err
	}
	first, last := bounds(of)
	reason := string(c.Reason)
	switch {
	case c.Day < first || c.Day > last:
		return quant.Errorf(quant.Invalid, "%s is outside of the calendar %s", c.Day, c.Calendar).WithHint("it knows %s to %s", first, last)
	case c.Kind != Closed && c.Kind != Extra:
		return quant.Errorf(quant.Invalid, "%q is neither %s nor %s", string(c.Kind), Closed, Extra)
	case len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return quant.Errorf(quant.Invalid, "the reason for %s is no line of at most %d bytes of UTF-8", c.Day, maxReason).WithHint("leave out line breaks and control characters")
	}
	return nil
}

// bounds are the whole years that a calendar knows.
func bounds(c *Calendar) (first, last quant.Date) {
	first, _ = quant.ParseDate(c.First().String()[:4] + "-01-01")
	last, _ = quant.ParseDate(c.Last().String()[:4] + "-12-31")
	return first, last
}

var header = []string{"calendar", "day", "kind", "reason"}

// ParseChanges reads a file of changes: CSV with the header
// calendar,day,kind,reason. They come sorted. Invalid, with the line, for anything
// else, and for a day of a calendar that stands twice.
func ParseChanges(text []byte) ([]Change, error) {
	if len(text) > maxFile {
		return nil, quant.Errorf(quant.Invalid, "it has more than %d bytes", maxFile)
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	r.FieldsPerRecord = len(header)
	var list []Change
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			if first {
				return nil, quant.Errorf(quant.Invalid, "it has no header %s", strings.Join(header, ","))
			}
			break
		}
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "%w", err)
		}
		line, _ := r.FieldPos(0)
		if first {
			if !slices.Equal(row, header) {
				return nil, quant.Errorf(quant.Invalid, "line %d is not the header %s", line, strings.Join(header, ","))
			}
			continue
		}
		day, err := quant.ParseDate(row[1])
		change := Change{row[0], day, Kind(row[2]), quant.Text(row[3])}
		if err == nil {
			err = change.Validate()
		}
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "line %d: %w", line, err)
		}
		list = append(list, change)
	}
	sortChanges(list)
	for i := 1; i < len(list); i++ {
		if list[i].Calendar == list[i-1].Calendar && list[i].Day == list[i-1].Day {
			return nil, quant.Errorf(quant.Invalid, "%s %s stands twice", list[i].Calendar, list[i].Day)
		}
	}
	return list, nil
}

func sortChanges(list []Change) {
	slices.SortFunc(list, func(a, b Change) int { return cmp.Or(cmp.Compare(a.Calendar, b.Calendar), cmp.Compare(a.Day, b.Day)) })
}

// ReadChanges reads the file of changes at path; none where there is no file.
// Invalid names the file: it is no plain file, or not one that ParseChanges reads.
// Store: it cannot be read.
func ReadChanges(path string) ([]Change, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	unusable := func(err error) error {
		return quant.Errorf(quant.Invalid, "the calendar file %s cannot be used: %w", path, err).WithHint("mend that line, or move the file away and add the days again: `quant calendar add`")
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, unusable(errors.New("it is a link"))
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the calendar file: %w", err).WithHint("make it readable")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, unusable(errors.New("it is no plain file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the calendar file: %w", err).WithHint("make it readable")
	}
	list, err := ParseChanges(text)
	if err != nil {
		return nil, unusable(err)
	}
	return list, nil
}

// WriteChanges makes the file of changes at path hold these, whole or not at
// all. Store: it cannot be written. Invalid: ReadChanges would refuse it.
func WriteChanges(path string, list []Change) error {
	list = slices.Clone(list)
	sortChanges(list)
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write(header) // a buffer takes everything
	for _, c := range list {
		_ = w.Write([]string{c.Calendar, c.Day.String(), string(c.Kind), string(c.Reason)})
	}
	w.Flush()
	if _, err := ParseChanges(text.Bytes()); err != nil {
		return err
	}
	if err := durable.Replace(path, 0o600, durable.Bytes(text.Bytes())); err != nil {
		return quant.Errorf(quant.Store, "write the calendar file %s: %w", path, err).WithHint("make room, or make its folder writable; the calendar is as it was")
	}
	return nil
}

// Amend returns the calendar with the changes that are of it and change
// something; the calendar itself where none does.
func (c *Calendar) Amend(changes []Change) *Calendar {
	var effective []Change
	for _, change := range changes {
		if _, session := c.Index(change.Day); change.Calendar == c.name && session != (change.Kind == Extra) {
			effective = append(effective, change)
		}
	}
	if len(effective) == 0 {
		return c
	}
	sortChanges(effective)
	amended := &Calendar{name: c.name, sessions: slices.Clone(c.sessions), open: c.open, changes: effective}
	sum := durable.NewSum()
	for _, change := range effective {
		_, _ = fmt.Fprintf(sum, "%s %s %s\n", change.Calendar, change.Day, change.Kind)
		at, session := amended.Index(change.Day)
		if session {
			amended.sessions = slices.Delete(amended.sessions, at, at+1)
		} else {
			amended.sessions = slices.Insert(amended.sessions, at, change.Day)
		}
	}
	amended.digest = sum.Digest()
	return amended
}

// Digest tells the changes that were made to an embedded calendar, without their
// reasons, from every others; "" where there is none.
func (c *Calendar) Digest() string { return c.digest }

// identityDigits is how much of the digest an identity shows.
const identityDigits = 12

// Identity names the calendar with what was changed of it: XKRX, or
// XKRX+0123456789ab.
func (c *Calendar) Identity() string {
	if c.digest == "" {
		return c.name
	}
	return c.name + "+" + strings.TrimPrefix(c.digest, durable.DigestPrefix)[:identityDigits]
}

// Changes are those that were made to the embedded calendar, by day.
func (c *Calendar) Changes() []Change { return slices.Clone(c.changes) }
