package pipeline

import (
	"fmt"
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

// Many features of a version that the same runs read are one node for a person; the
// whole graph keeps each.
func TestManyFeaturesOfAVersionAreOneNode(t *testing.T) {
	t.Parallel()
	l := Lineage{Run: "r"}
	node := func(id, kind, name, first, last string) {
		rows := int64(10)
		l.Nodes = append(l.Nodes, Node{ID: id, Type: kind, Name: name, Rows: &rows, FirstDate: quant.Text(first), LastDate: quant.Text(last)})
	}
	read := func(run, id string) {
		l.Edges = append(l.Edges, Edge{From: "run:" + run, To: id, Kind: "read"})
	}
	node("run:r", quant.IORun, "train", "", "")
	node("run:s", quant.IORun, "score", "", "")
	l.Nodes[0].RunID, l.Nodes[0].Status = "r", quant.Success
	for i := range 12 {
		id := fmt.Sprint("table:", i)
		node(id, quant.IOTable, fmt.Sprintf("features_daily:F%d@alpha", i), fmt.Sprintf("2024-01-%02d", 10+i), fmt.Sprintf("2024-02-%02d", 10+i))
		read("r", id)
		if i == 11 {
			read("s", id) // another run reads this one too
		}
	}
	for i := range 3 {
		id := fmt.Sprint("few:", i)
		node(id, quant.IOTable, fmt.Sprintf("features_daily:G%d@few", i), "2024-01-01", "2024-01-02")
		read("r", id)
	}
	folded := l.Folded()
	if len(folded.Nodes) != 2+1+1+3 || len(folded.Edges) != 1+2+3 || len(l.Nodes) != 17 || len(l.Edges) != 16 {
		t.Fatalf("%d nodes, %d edges of %d, %d: %+v", len(folded.Nodes), len(folded.Edges), len(l.Nodes), len(l.Edges), folded)
	}
	tree := strings.Join(folded.Tree(), "\n")
	for _, part := range []string{"table alpha (11 features), 110 rows, 2024-01-10 to 2024-02-20\n", "features_daily:F11@alpha, 10 rows", "features_daily:G2@few"} {
		if !strings.Contains(tree, part) {
			t.Errorf("no %q in\n%s", part, tree)
		}
	}
	if strings.Contains(tree, "F3@alpha") || len(l.Tree()) != 16 {
		t.Errorf("folded\n%s\nwhole\n%s", tree, strings.Join(l.Tree(), "\n"))
	}
}
