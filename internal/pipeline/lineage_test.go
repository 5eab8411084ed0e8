package pipeline

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
)

const (
	runA = "019bc0de-0001-7000-8000-0000000000aa"
	runB = "019bc0de-0002-7000-8000-0000000000bb"
	runC = "019bc0de-0003-7000-8000-0000000000cc"
	gone = "019bc0de-0009-7000-8000-000000000099"
)

// recordedLab has runs that came from each other: c read what b wrote, b what
// a wrote, and a, which no clock allows, what c wrote.
func recordedLab(t *testing.T) metastore.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "meta.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	for _, r := range []struct {
		id, kind, parent string
		io               []quant.RunIO
	}{
		{runA, "ingest", "", []quant.RunIO{
			{Direction: quant.In, Kind: "file", Name: "a \"\\\n\x1b[2J\u202e<b>.csv", Digest: "sha256:0123456789abcdef"},
			{Direction: quant.In, Kind: "run", Name: runC},
			{Direction: quant.In, Kind: "stage", Name: "ingest", Digest: "sha256:ff"},
		}},
		{runB, "features", runC, []quant.RunIO{
			{Direction: quant.In, Kind: "run", Name: runA}, {Direction: quant.In, Kind: "run", Name: gone},
			{Direction: quant.In, Kind: "table", Name: "ohlcv", Digest: "rows:11"}, {Direction: quant.Out, Kind: "table", Name: "features_daily", Digest: "rows:22"},
		}},
		{runC, "pipeline.run", "", nil},
	} {
		for i := range r.io {
			r.io[i].RunID = r.id
		}
		p := quant.RunProcess{RunID: r.id, Changes: true, ParentRunID: quant.Text(r.parent), BinaryVersion: "dev", GitCommit: "0123456789abcdef", GitDirty: new(bool)}
		if err := db.CreateRun(t.Context(), quant.Run{RunID: r.id, Kind: r.kind, Status: quant.Running, StartedAt: at}, p); err != nil {
			t.Fatal(err)
		}
		if err := db.FinishRun(t.Context(), metastore.RunEnd{RunID: r.id, Status: quant.Success, EndedAt: at, IO: r.io}); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func TestALineageGoesBackToTheFilesAndEndsAlsoInACircle(t *testing.T) {
	t.Parallel()
	l, err := Trace(t.Context(), recordedLab(t), runC)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, n := range l.Nodes {
		ids = append(ids, n.ID)
	}
	want := []string{"run:" + runC, "run:" + runA, "run:" + runB, "run:" + gone, "table:ohlcv@rows:11", "file:a \"\\\n\x1b[2J\u202e<b>.csv@sha256:0123456789abcdef"}
	if !slices.Equal(ids, want) {
		t.Fatalf("%q\nwant %q", ids, want)
	}
	tree := strings.Join(l.Tree(), "\n")
	for _, part := range []string{"pipeline.run 000000cc SUCCESS", "└─ features 000000bb", "table ohlcv, rows:11", "run " + gone + ", of which there is no record", "pipeline.run 000000cc SUCCESS 2026-01-15 09:30:00Z quant dev git 0123456789ab (above)"} {
		if !strings.Contains(tree, part) {
			t.Errorf("the tree lacks %q:\n%s", part, tree)
		}
	}
	if got := len(l.Tree()); got != 7 {
		t.Errorf("the tree has %d lines:\n%s", got, tree)
	}
}

func TestAHostileNameStaysInItsLabel(t *testing.T) {
	t.Parallel()
	l, err := Trace(t.Context(), recordedLab(t), runA)
	if err != nil {
		t.Fatal(err)
	}
	dot := strings.Join(l.Dot(), "\n")
	if !strings.Contains(dot, `label="file a \"\\  [2J <b>.csv, sha256:0123456789ab"`) {
		t.Errorf("%s", dot)
	}
	for _, bad := range []string{"\x1b", "\u202e"} {
		if strings.Contains(dot, bad) {
			t.Errorf("%q is in it", bad)
		}
	}
	if got := strings.Count(dot, " -> "); got != len(l.Edges) {
		t.Errorf("%d arrows for %d edges", got, len(l.Edges))
	}
}

func TestTheLineageOfARunThatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	if _, err := Trace(t.Context(), recordedLab(t), gone); quant.CodeOf(err) != quant.NotFound {
		t.Fatal(err)
	}
}
