package runs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/runs"
)

func agree(context.Context, int) error { return nil }

// changesOf are what became of runs, in order.
func changesOf(list []runs.Change) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Change)
	}
	return strings.Join(out, " ")
}

func TestDeletedRunsComeBackUntilTheyArePurged(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	if got, err := runs.Delete(ctx, s, []string{a, a}, false); err != nil || changesOf(got) != "deleted" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := runs.Delete(ctx, s, []string{b, a}, false); err != nil || changesOf(got) != "deleted unchanged" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := runs.Restore(ctx, s, []string{b}, false); err != nil || changesOf(got) != "restored" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := runs.Purge(ctx, s, []string{b}, false, agree); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("a run that is not deleted is purged: %v", err)
	}
	no := quant.Errorf(quant.Refused, "no")
	if _, err := runs.Purge(ctx, s, []string{a}, false, func(_ context.Context, n int) error {
		if n != 1 {
			t.Errorf("it asks about %d runs", n)
		}
		return no
	}); err == nil || err.Error() != "no" {
		t.Error(err)
	}
	if got, err := runs.Purge(ctx, s, []string{a}, false, agree); err != nil || changesOf(got) != "purged" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Meta.GetRun(ctx, a); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
	if _, err := runs.Delete(ctx, s, []string{s.RunID()}, false); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("it deletes itself: %v", err)
	}
	if err := s.End(ctx, nil); err != nil {
		t.Fatal(err)
	}
	recorded := map[string]int64{}
	list, err := s.Meta.RunIO(ctx, s.RunID())
	if err != nil {
		t.Fatal(err)
	}
	for _, io := range list {
		recorded[io.Kind+" "+io.Name] = *io.Rows
	}
	if len(recorded) != 2 || recorded["meta run_deletions"] == 0 || recorded["meta runs"] != 1 {
		t.Errorf("recorded is %v", recorded)
	}
}

func TestARunThatFactsNameIsKept(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	if err := s.WriteFacts(ctx, func(db *factstore.DB) error {
		return factstoretest.Write(ctx, db, b, "INSERT INTO labels VALUES ('A', DATE '2024-01-02', 'fwd_ret_1d', 0.5, 'v1')")
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := runs.Delete(ctx, s, []string{a, b}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := runs.Purge(ctx, s, []string{b}, false, agree); quant.CodeOf(err) != quant.Refused {
		t.Error(err)
	}
	if got, err := runs.PurgeDeleted(ctx, s, time.Hour, agree); err != nil || len(got) != 0 {
		t.Errorf("what was deleted just now: %+v, %v", got, err)
	}
	got, err := runs.PurgeDeleted(ctx, s, 0, agree)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, c := range got {
		want := map[string]string{a: runs.Purged, b: runs.Kept}[c.RunID]
		if c.Change != want || (c.Reason != "") != (want == runs.Kept) {
			t.Errorf("%+v, want %s", c, want)
		}
	}
}

func TestChildrenGoWithTheirParents(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	inner, err := s.Meta.GetRun(t.Context(), a)
	if err != nil || string(inner.Process.ParentRunID) != s.RunID() {
		t.Fatalf("%+v, %v", inner, err)
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.Run = nil // another execution, that is not recorded
	got, err := runs.Delete(t.Context(), s, []string{s.RunID()}, true)
	if err == nil {
		t.Fatalf("no name names a run: %+v", got)
	}
	parent := string(inner.Process.ParentRunID)
	got, err = runs.Delete(t.Context(), s, []string{parent}, true)
	if err != nil || len(got) != 3 || got[0].RunID != parent {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, id := range []string{a, b} {
		if deleted, err := s.Meta.IsDeleted(t.Context(), id); err != nil || !deleted {
			t.Errorf("run %s: %t, %v", id, deleted, err)
		}
	}
}
