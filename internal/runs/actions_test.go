package runs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"quant"
	"quant/internal/runs"
)

// tagsOf are the tags of a run as NAME=VALUE, in order.
func tagsOf(t *testing.T, meta interface {
	Tags(ctx context.Context, runID string) ([]quant.Tag, error)
}, id string) string {
	t.Helper()
	list, err := meta.Tags(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, tag := range list {
		out = append(out, tag.Name+"="+tag.Value)
	}
	return strings.Join(out, " ")
}

func TestEachActionIsARunThatNamesWhoAsked(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	actor := runs.Actor{Session: s, By: "alice"}
	for _, c := range []struct {
		name, kind, change, argv string
		do                       func() (runs.Acted, error)
	}{
		{"tag", "log.tag", runs.Tagged, "quant log tag --run " + a + " team=alpha desk=<b>",
			func() (runs.Acted, error) {
				return actor.Tag(ctx, a, []quant.Tag{{Name: "team", Value: "alpha"}, {Name: "desk", Value: "<b>"}})
			}},
		{"a secret", "log.tag", runs.Tagged, "quant log tag --run " + a + " api_key=***",
			func() (runs.Acted, error) { return actor.Tag(ctx, a, []quant.Tag{{Name: "api_key", Value: "hunter2"}}) }},
		{"untag", "log.tag", runs.Untagged, "quant log tag --run " + a + " --delete desk",
			func() (runs.Acted, error) { return actor.Untag(ctx, a, []string{"desk"}) }},
		{"name", "log.tag", runs.Tagged, "", func() (runs.Acted, error) { return actor.SetName(ctx, a, "best") }},
		{"star", "log.tag", runs.Tagged, "", func() (runs.Acted, error) { return actor.Star(ctx, a) }},
		{"unstar", "log.tag", runs.Untagged, "", func() (runs.Acted, error) { return actor.Unstar(ctx, a) }},
		{"note", "log.note", runs.Noted, "quant log note --run " + a + " -- --not a flag",
			func() (runs.Acted, error) { return actor.Note(ctx, a, "--not a flag") }},
		{"delete", "runs.delete", runs.Deleted, "quant runs delete " + a,
			func() (runs.Acted, error) { return actor.Delete(ctx, []string{"@best"}, false) }},
		{"restore", "runs.restore", runs.Restored, "quant runs restore " + a,
			func() (runs.Acted, error) { return actor.Restore(ctx, []string{a}, false) }},
	} {
		acted, err := c.do()
		if err != nil || acted.By != "alice" || len(acted.Changes) != 1 || acted.Changes[0].RunID != a || acted.Changes[0].Change != c.change {
			t.Fatalf("%s: %+v, %v", c.name, acted, err)
		}
		run, err := s.Meta.GetRun(ctx, acted.ActionID)
		if err != nil {
			t.Fatal(err)
		}
		if run.Kind != c.kind || run.Status != quant.Success || string(run.Process.ParentRunID) != s.RunID() {
			t.Errorf("%s is recorded as %s %s inside %s", c.name, run.Kind, run.Status, run.Process.ParentRunID)
		}
		var argv []string
		if err := json.Unmarshal(run.Process.Argv, &argv); err != nil || c.argv != "" && strings.Join(argv, " ") != c.argv {
			t.Errorf("%s: the command line is %s, want %s", c.name, run.Process.Argv, c.argv)
		}
		if got := tagsOf(t, s.Meta, acted.ActionID); got != "by=alice" {
			t.Errorf("%s: who asked is %q", c.name, got)
		}
	}
	if got := tagsOf(t, s.Meta, a); got != "api_key=*** name=best team=alpha" {
		t.Errorf("the tags are %s", got)
	}
	if got := tagsOf(t, s.Meta, b); strings.Contains(got, "team=alpha") {
		t.Errorf("another run was tagged: %s", got)
	}
}

func TestAnActionThatFailsIsRecordedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	actor := runs.Actor{Session: s, By: "bob"}
	before := tagsOf(t, s.Meta, a)
	if _, err := actor.Delete(ctx, []string{b}, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		code quant.Code
		do   func() (runs.Acted, error)
	}{
		{"a name that is none", quant.Invalid, func() (runs.Acted, error) {
			return actor.Tag(ctx, a, []quant.Tag{{Name: "ok", Value: "1"}, {Name: "a\nb", Value: "1"}})
		}},
		{"a tag that it has not", quant.NotFound, func() (runs.Acted, error) { return actor.Untag(ctx, a, []string{"nothing"}) }},
		{"an empty note", quant.Invalid, func() (runs.Acted, error) { return actor.Note(ctx, a, " ") }},
		{"a deleted run", quant.Conflict, func() (runs.Acted, error) { return actor.Star(ctx, b) }},
		{"a tag of a deleted run", quant.Conflict, func() (runs.Acted, error) { return actor.Untag(ctx, b, []string{"team"}) }},
		{"the run that serves", quant.Conflict, func() (runs.Acted, error) { return actor.Delete(ctx, []string{s.RunID()}, false) }},
		{"no run", quant.NotFound, func() (runs.Acted, error) { return actor.Star(ctx, "ffffffffff") }},
		{"no tags", quant.Invalid, func() (runs.Acted, error) { return actor.Tag(ctx, a, nil) }},
	} {
		acted, err := c.do()
		if quant.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		if acted.ActionID == "" {
			continue // it was refused before it began
		}
		run, err := s.Meta.GetRun(ctx, acted.ActionID)
		if err != nil || run.Status != quant.Fail {
			t.Errorf("%s is recorded as %s, %v", c.name, run.Status, err)
		}
	}
	if got := tagsOf(t, s.Meta, a); got != before {
		t.Errorf("the tags became %s", got)
	}
	if _, err := (runs.Actor{Session: s}).Star(ctx, a); err == nil {
		t.Error("nobody may act")
	}
}

func TestSeveralActAtOnce(t *testing.T) {
	t.Parallel()
	s, a, _ := looking(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			actor := runs.Actor{Session: s, By: fmt.Sprint("caller ", i)}
			if _, err := actor.Tag(t.Context(), a, []quant.Tag{{Name: fmt.Sprint("t", i), Value: "1"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := strings.Count(tagsOf(t, s.Meta, a), "=1"); got != 8 {
		t.Errorf("%d tags are there", got)
	}
}
