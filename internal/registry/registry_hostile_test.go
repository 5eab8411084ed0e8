package registry_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"quant"
	"quant/internal/git"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/secret"
)

func TestNoNoteOfWhatARunReadOrWroteKeepsItOpen(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	ctx := t.Context()
	id, err := g.Start(ctx, "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	note := func(direction quant.Direction, kind, name string, first quant.Text) {
		g.Get(id).Record(quant.RunIO{Direction: direction, Kind: kind, Name: name, FirstDate: first})
	}
	note(quant.In, "file", "api_key=a/A1.csv", "2026-01-15")
	note(quant.In, "file", "api_key=b/B1.csv", "20260115")
	note(quant.In, "file", "api_key=c/C1.csv", "2026-02-30")
	note(quant.In, "file", " ", "")
	note(quant.In, "file", "", "")
	note(quant.In, "file", "\xff.csv", "")
	note("sideways", "file", "a", "")
	note(quant.Out, "", "b", "")
	if err := g.Success(ctx, id); err != nil {
		t.Fatal(err)
	}
	list, err := l.store.RunIO(ctx, id)
	if err != nil || l.get(id).Status != quant.Success {
		t.Fatal(l.get(id), err)
	}
	seen := map[string]bool{}
	for _, io := range list {
		seen[io.Name+"|"+string(io.FirstDate)] = true
	}
	masked := (&secret.Masker{}).Text("api_key=a/A1.csv")
	for _, want := range []string{masked + "|2026-01-15", masked + " (2)|", masked + " (3)|", `" "|`, `""|`, "\uFFFD.csv|"} {
		if !seen[want] {
			t.Errorf("no %q in %v", want, seen)
		}
	}
	if len(list) != 6 {
		t.Errorf("%d notes: %v", len(list), seen)
	}
}

// refusing is a store that takes no notes.
type refusing struct{ metastore.Store }

func (r refusing) FinishRun(ctx context.Context, end metastore.RunEnd) error {
	if len(end.IO) > 0 {
		return quant.Errorf(quant.Invalid, "no notes here")
	}
	return r.Store.FinishRun(ctx, end)
}

func TestARunWhoseNotesAreRefusedIsClosedWithoutThem(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(func(o *registry.Options) { o.Store = refusing{l.store} })
	id, err := g.Start(t.Context(), "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Get(id).Record(quant.RunIO{Direction: quant.In, Kind: "file", Name: "a"})
	if err := g.Fail(t.Context(), id, errors.New("why")); err != nil {
		t.Fatal(err)
	}
	if row := l.get(id); row.Status != quant.Fail || row.ErrorText != "why" {
		t.Errorf("%+v", row)
	}
}

func TestTheFactsAreRecordedAndTheirClauseStandsBehindTheHint(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	why := quant.Errorf(quant.Provider, "it broke").WithHint("mend it; set token=abc")
	for name, tc := range map[string]struct {
		cause  error
		want   quant.Facts
		clause string
	}{
		"told":          {registry.FailedWith(why, quant.FactsNotChecked), quant.FactsNotChecked, "; facts not checked"},
		"told, wrapped": {fmt.Errorf("run: %w", registry.FailedWith(why, quant.FactsCommitted)), quant.FactsCommitted, "; facts committed"},
		"told none":     {registry.FailedWith(why, quant.FactsNone), quant.FactsNone, "; no facts committed"},
		"not told":      {why, "", ""},
		"told nothing":  {registry.FailedWith(why, ""), "", ""},
		"words alone":   {quant.Errorf(quant.Failed, "closed by hand; facts committed").WithHint("mend it"), "", ""},
	} {
		id, err := g.Start(t.Context(), "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Fail(t.Context(), id, tc.cause); err != nil {
			t.Fatal(err)
		}
		row := l.get(id)
		_, after, found := strings.Cut(string(row.ErrorText), "\nhint: mend it")
		if row.Process.Facts != tc.want || !found || !strings.HasSuffix(after, tc.clause) || strings.Count(after, "facts") != strings.Count(tc.clause, "facts") {
			t.Errorf("%s: %q, facts %q", name, row.ErrorText, row.Process.Facts)
		}
	}
}

func TestAClauseIsReplacedAndOldTextsAreRead(t *testing.T) {
	t.Parallel()
	if got := registry.ReplaceFacts("x; facts not checked", quant.FactsNotChecked, quant.FactsNone); got != "x; no facts committed" {
		t.Errorf("%q", got)
	}
	if got := registry.ReplaceFacts("x", "", quant.FactsCommitted); got != "x; facts committed" {
		t.Errorf("%q", got)
	}
	for _, facts := range []quant.Facts{"", quant.FactsCommitted, quant.FactsNone, quant.FactsNotChecked} {
		if got := registry.FactsOfText(registry.WithFacts("it broke\nhint: x", facts)); got != facts {
			t.Errorf("%q reads as %q", facts, got)
		}
	}
	if got := registry.FactsOfText("facts committed, perhaps"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestAFunctionThatEndsItsGoroutineIsAFailure(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	var id string
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = g.Track(t.Context(), "x", nil, func(_ context.Context, run *registry.Run) error {
			id = run.ID
			runtime.Goexit()
			return nil
		})
	}()
	<-over
	if row := l.get(id); row.Status != quant.Fail {
		t.Errorf("%+v", row)
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	for shift := range 4 {
		long := strings.Repeat("x", shift) + strings.Repeat("삼", 50_000)
		if got := registry.Clip(long); !utf8.ValidString(got) || len(got) > 64<<10+20 {
			t.Errorf("shift %d: %d bytes, valid %v", shift, len(got), utf8.ValidString(got))
		}
	}
}

func TestWhereARunRanIsMasked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	mask := &secret.Masker{}
	mask.Know("canary-setting")
	p := *liveness.ThisProcess()
	p.WorkDir, p.Host, p.User = "/home/api_key=canary-dir/x", "canary-setting", "u-canary-setting"
	g := l.registry(func(o *registry.Options) { o.Mask, o.Process = mask, &p })
	id, err := g.Start(t.Context(), "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	row := l.get(id).Process
	if all := fmt.Sprintf("%s %s %s", row.WorkDir, row.Host, row.User); strings.Contains(all, "canary") {
		t.Error(all)
	}
}

func TestAWorkTreeCannotMakeGitStartAProgram(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Log("there is no git: then nothing is started")
		return
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("init", "-q")
	write("a.txt", "one\n")
	run("add", ".")
	run("commit", "-q", "-m", "one")
	if dirty := git.Dirty(t.Context(), dir); dirty == nil || *dirty {
		t.Errorf("clean: %v", dirty)
	}
	write("a.txt", "two\n")
	if dirty := git.Dirty(t.Context(), dir); dirty == nil || !*dirty {
		t.Errorf("changed: %v", dirty)
	}
	trace := filepath.Join(t.TempDir(), "started")
	write(".gitattributes", "* filter=spy\n")
	run("config", "filter.spy.clean", "touch '"+trace+"'; cat")
	write("a.txt", "six\n")
	if dirty := git.Dirty(t.Context(), dir); dirty != nil {
		t.Errorf("with a filter: %v", *dirty)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("the filter was started")
	}
}
