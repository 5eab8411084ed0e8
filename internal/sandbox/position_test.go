package sandbox

import (
	"errors"
	"strings"
	"testing"
)

func TestAnErrorOfDuckDBHasItsPlace(t *testing.T) {
	for _, c := range []struct {
		text string
		want Position
		ok   bool
	}{
		{"Binder Error: no nope\n\nLINE 1: SELECT nope FROM t\n               ^", Position{1, 8}, true},
		{"Catalog Error: no x\nDid you mean y?\n\nLINE 12: FROM x\n              ^", Position{12, 6}, true},
		{"Binder Error: no nope\n\nLINE 1: ...SELECT nope FROM t\n               ^", Position{}, false},
		{"Out of Memory Error: x", Position{}, false},
	} {
		e := errSQL(c.text)
		at, ok := errors.AsType[Position](error(e))
		if ok != c.ok || at != c.want {
			t.Errorf("%q: %v, %v", c.text, at, ok)
		}
	}
	if got := offset(len("SELECT '가'\nFR")).in("SELECT '가'\nFROM"); got != (Position{2, 3}) {
		t.Errorf("an offset is at %v", got)
	}
	if err := withinText(errSQL("Parser Error: x"), "EXPLAIN SELECT", " SELECT"); strings.Contains(err.Error(), "column") {
		t.Errorf("%v", err)
	}
}
