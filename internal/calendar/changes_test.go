package calendar

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
)

func TestChangesMakeAnotherCalendarAndLeaveTheEmbeddedOne(t *testing.T) {
	t.Parallel()
	c := open(t, "XKRX")
	before := c.Len()
	closed, extra := day(t, "2026-07-10"), day(t, "2026-08-15")
	amended := c.Amend([]Change{{"XKRX", extra, Extra, ""}, {"XKRX", closed, Closed, "why"}, {"XNYS", day(t, "2026-07-13"), Closed, ""}, {"XKRX", day(t, "2026-06-03"), Closed, "is so already"}})
	if _, is := amended.Index(closed); is {
		t.Error("the closure is a session")
	}
	if _, is := amended.Index(extra); !is {
		t.Error("the extra session is none")
	}
	if _, is := amended.Index(day(t, "2026-07-13")); !is {
		t.Error("another exchange's closure counts")
	}
	if amended.Len() != before || c.Len() != before || len(amended.Changes()) != 2 || !strings.HasPrefix(amended.Identity(), "XKRX+") || amended.Name() != "XKRX" {
		t.Errorf("%d sessions, %d, %v, %s", amended.Len(), c.Len(), amended.Changes(), amended.Identity())
	}
	if week, err := amended.Rebalances(Weekly, day(t, "2026-07-06"), day(t, "2026-07-12")); err != nil || !slices.Equal(week, days(t, "2026-07-09")) {
		t.Errorf("the week ends on %v (%v)", week, err)
	}
	same := c.Amend([]Change{{"XKRX", closed, Closed, "another reason"}, {"XKRX", extra, Extra, ""}})
	if same.Digest() != amended.Digest() {
		t.Error("order or reasons change the digest")
	}
	if none := c.Amend([]Change{{"XKRX", day(t, "2026-06-03"), Closed, ""}}); none != c || none.Digest() != "" || none.Identity() != "XKRX" {
		t.Error("a change of nothing makes another calendar")
	}
}

func TestAFileOfChangesIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calendar.csv")
	if list, err := ReadChanges(path); err != nil || list != nil {
		t.Fatalf("%v %v", list, err)
	}
	want := []Change{{"XKRX", day(t, "2026-07-10"), Closed, `a "storm", 태풍`}, {"XNYS", day(t, "2025-01-09"), Extra, ""}}
	if err := WriteChanges(path, []Change{want[1], want[0]}); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadChanges(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
}

func TestAFileOfChangesThatIsNoneIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	const head = "calendar,day,kind,reason\n"
	for text, want := range map[string]string{
		"":                                         "no header",
		"day\n":                                    "wrong number of fields",
		"a,b,c,d\n":                                "line 1 is not the header",
		head + "XKRX,2026-07-10,closed\n":          "wrong number of fields",
		head + "XLON,2026-07-10,closed,\n":         "line 2: calendar \"XLON\" is not known",
		head + "data,2026-07-10,closed,\n":         "line 2",
		head + "XKRX,2026-02-30,closed,\n":         "line 2",
		head + "XKRX,2060-01-04,closed,\n":         "outside of the calendar",
		head + "XKRX,2026-07-10,open,\n":           "neither closed nor session",
		head + "XKRX,2026-07-10,closed,\"a\nb\"\n": "no line of at most 200 bytes",
		head + "XKRX,2026-07-10,closed,\x1b[31m\n": "no line of at most 200 bytes",
		head + "XKRX,2026-07-10,closed,\xff\n":     "no line of at most 200 bytes",
		head + "XKRX,2026-07-10,closed,\u202ex\n":  "no line of at most 200 bytes",
		head + "XKRX,2026-07-10,closed,\nXKRX,2026-07-10,session,\n": "stands twice",
		head + strings.Repeat("\n", maxFile):                         "more than",
	} {
		if _, err := ParseChanges([]byte(text)); quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "calendar.csv")
	if err := os.Symlink("/etc/hostname", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		if _, err := ReadChanges(path); quant.CodeOf(err) != quant.Invalid || quant.HintOf(err) == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzParseChanges(f *testing.F) {
	f.Add([]byte("calendar,day,kind,reason\nXKRX,2026-07-10,closed,a storm\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseChanges(text)
		if err != nil {
			if quant.CodeOf(err) != quant.Invalid {
				t.Fatal(err)
			}
			return
		}
		path := filepath.Join(t.TempDir(), "c")
		if err := WriteChanges(path, list); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadChanges(path); err != nil || !slices.Equal(again, list) {
			t.Fatalf("%v, then %v (%v)", list, again, err)
		}
	})
}
