package quant_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"quant"
)

func TestAnErrorIsFoundByItsCodeThroughEveryWrap(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", quant.Errorf(quant.NotFound, "symbol X: %w", cause).WithHint("look at %s", "Y"))
	if !errors.Is(err, quant.NotFound) || errors.Is(err, quant.Conflict) || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if quant.CodeOf(err) != quant.NotFound || quant.HintOf(err) != "look at Y" || quant.ExitStatus(err) != 4 {
		t.Errorf("%s, %q, %d", quant.CodeOf(err), quant.HintOf(err), quant.ExitStatus(err))
	}
	if quant.CodeOf(nil) != "" || quant.CodeOf(cause) != quant.Failed || quant.HintOf(cause) != "" || quant.ExitStatus(nil) != 0 {
		t.Error("of an error without a code")
	}
	if inner := quant.Errorf(quant.Failed, "outer: %w", quant.Errorf(quant.Locked, "inner").WithHint("wait")); quant.HintOf(inner) != "wait" {
		t.Errorf("hint %q", quant.HintOf(inner))
	}
}

func TestEveryCodeHasTheExitStatusOfTheContract(t *testing.T) {
	t.Parallel()
	want := map[quant.Code]int{
		quant.Failed: 1, quant.Usage: 2, quant.Invalid: 2, quant.Partial: 3, quant.NotFound: 4, quant.Conflict: 5,
		quant.Locked: 5, quant.Refused: 6, quant.Provider: 7, quant.Store: 8,
	}
	for _, c := range quant.Codes() {
		if c.ExitStatus() != want[c] {
			t.Errorf("%s: %d", c, c.ExitStatus())
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	if got := quant.ExitStatus(fmt.Errorf("x: %w", quant.Signalled{Number: 15, Name: "SIGTERM"})); got != 143 {
		t.Errorf("signal: %d", got)
	}
}

func TestSymbolsAreTextWithoutSpacesOrControlCharacters(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"AAPL", "BRK.B", "^GSPC", "005930.KS", "삼성전자", "a", strings.Repeat("x", 64), "EUR/USD", "'"} {
		if err := quant.ValidateSymbol(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", " ", "A B", "A\n", "A\x00", "\x7f", "A\u00a0", "A\u200b", "\xff", strings.Repeat("x", 65), strings.Repeat("가", 22), "A\u3000"} {
		if err := quant.ValidateSymbol(s); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestARunsStatusEndAndErrorBelongTogether(t *testing.T) {
	t.Parallel()
	now := quant.NewTime(time.Now())
	ok := quant.Run{RunID: "r", Kind: "k", Status: quant.Running, StartedAt: now}
	for name, change := range map[string]func(*quant.Run){
		"no kind": func(r *quant.Run) { r.Kind = " " }, "status": func(r *quant.Run) { r.Status = "DONE" },
		"running with an end": func(r *quant.Run) { r.EndedAt = now }, "running with an error": func(r *quant.Run) { r.ErrorText = "x" },
		"success without an end": func(r *quant.Run) { r.Status = quant.Success }, "no start": func(r *quant.Run) { r.StartedAt = quant.Time{} },
		"fail without a text": func(r *quant.Run) { r.Status, r.EndedAt = quant.Fail, now },
		"config":              func(r *quant.Run) { r.ConfigJSON = quant.JSON("{") },
	} {
		r := ok
		change(&r)
		if err := r.Validate(); !errors.Is(err, quant.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

func TestATimeIsStoredWithAFixedWidthInUTC(t *testing.T) {
	t.Parallel()
	at := quant.NewTime(time.Date(2026, 1, 15, 18, 30, 0, 1500, time.FixedZone("KST", 9*3600)))
	if at.String() != "2026-01-15T09:30:00.000001Z" {
		t.Error(at.String())
	}
	if back, err := quant.ParseTime(at.String()); err != nil || !back.Equal(at.Time) {
		t.Errorf("%v, %v", back, err)
	}
	for _, s := range []string{"", "2026-01-15T09:30:00Z", "2026-01-15 09:30:00.000000Z", "2026-13-15T09:30:00.000000Z", "2026-01-15T09:30:00.000000+00:00"} {
		if _, err := quant.ParseTime(s); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestWhatIsAbsentIsNullInJSON(t *testing.T) {
	t.Parallel()
	type row struct {
		T quant.Time
		N quant.Text
		J quant.JSON
	}
	b, err := json.Marshal(row{})
	if err != nil || string(b) != `{"T":null,"N":null,"J":null}` {
		t.Errorf("%s, %v", b, err)
	}
	full := row{quant.NewTime(time.Unix(0, 0)), "x", quant.JSON(`{"a":1}`)}
	b, err = json.Marshal(full)
	var back row
	if err != nil || json.Unmarshal(b, &back) != nil || back.T.String() != full.T.String() || back.N != "x" || string(back.J) != `{"a":1}` {
		t.Errorf("%s, %+v, %v", b, back, err)
	}
}
