// Package metastoretest is the behaviour suite of the Meta DB: what every
// backend of metastore.Store must do. It knows no backend; a backend's own
// tests call Run, and keep to themselves what concerns files and SQL.
package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// Run checks a backend. open makes an empty store, closed when its test ends.
func Run(t *testing.T, open func(t *testing.T) metastore.Store) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Symbols", symbolTests()},
		{"Experiments", experimentTests()},
		{"Models", modelTests()},
		{"Runs", runTests()},
		{"Records", recordTests()},
		{"Portable", portableTests()},
		{"Deletions", deletionTests()},
		{"Overview", overviewTests()},
		{"Parts", partTests()},
		{"Searches", searchTests()},
		{"Tokens", tokenTests()},
		{"Tracking", trackingTests()},
		{"Registered", registeredTests()},
		{"Foreign", foreignTests()},
		{"Tx", txTests()},
		{"Store", storeTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					tt.run(t, open(t))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(t *testing.T, s metastore.Store)
}

// Start is when the first run of a test starts.
func start() time.Time { return time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC) }

// RunID returns the id of the nth run: a version 7 UUID n seconds after the
// start, which ends in the eight digits of n.
func RunID(n int) string {
	ms := start().Add(time.Duration(n) * time.Second).UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-0000%08x", ms>>16, ms&0xffff, n)
}

func startedAt(n int) quant.Time { return quant.NewTime(start().Add(time.Duration(n) * time.Second)) }

func newRun(n int) (quant.Run, quant.RunProcess) {
	return quant.Run{RunID: RunID(n), Kind: "config", Status: quant.Running, StartedAt: startedAt(n)},
		quant.RunProcess{RunID: RunID(n), Changes: true, PID: int64(n + 1)}
}

func successOf(n int) metastore.RunEnd {
	return metastore.RunEnd{RunID: RunID(n), Status: quant.Success, EndedAt: startedAt(n + 1)}
}

func failOf(n int, text string) metastore.RunEnd {
	return metastore.RunEnd{RunID: RunID(n), Status: quant.Fail, EndedAt: startedAt(n + 1), ErrorText: text}
}

func pointer[T any](v T) *T { return &v }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused asserts the code of the outermost error and that it says something.
func refused(t *testing.T, err error, code quant.Code) {
	t.Helper()
	if got := quant.CodeOf(err); got != code {
		t.Fatalf("error %v has code %q, want %q", err, got, code)
	}
	if !errors.Is(err, code) {
		t.Fatalf("error %v is not %q to errors.Is", err, code)
	}
	if err.Error() == "" {
		t.Fatal("the error says nothing")
	}
}

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	g, err := quant.NewJSON(got)
	ok(t, err)
	w, err := quant.NewJSON(want)
	ok(t, err)
	if string(g) != string(w) {
		t.Fatalf("got  %s\nwant %s", g, w)
	}
}

func one[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func createRun(t *testing.T, s metastore.Store, n int, change func(*quant.Run, *quant.RunProcess)) {
	t.Helper()
	r, p := newRun(n)
	if change != nil {
		change(&r, &p)
	}
	ok(t, s.CreateRun(context.Background(), r, p))
}

// awkward are texts that have broken programs before.
func awkward() []string {
	return []string{
		"삼성전자", "日本", "naïve", "O'Brien", `"quoted"`, `back\slash`, "50% _off_ [x]*?", "--", "; DROP TABLE runs; --",
		"two\nlines", "tab\there", "nul\x00inside", "bell\x07", "$1 ?1 :name @x", "🙂", " leading and trailing ", "\u202eright to left",
		string(slices.Repeat([]byte("long "), 20_000)),
	}
}
