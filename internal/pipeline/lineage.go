package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"quant"
	"quant/internal/metastore"
)

// Lineage is what a run's result came from: a graph of runs, the tables that
// they read, and at its ends the source files.
type Lineage struct {
	Run   string `json:"run"` // the run that was asked for
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is one run, table or file. Every run and file (by path and digest)
// stands once, a table once a state in which it was read.
type Node struct {
	ID   string `json:"id"`
	Type string `json:"type"` // run, table, file, or the kind of any other input
	Name string `json:"name"` // kind of the run, name of the table, path of the file

	// Of a run.
	RunID         quant.Text   `json:"run_id"`
	Status        quant.Status `json:"status"` // "" for a run whose record is lost
	StartedAt     quant.Time   `json:"started_at"`
	BinaryVersion quant.Text   `json:"binary_version"`
	BinaryCommit  quant.Text   `json:"binary_commit"`
	GitCommit     quant.Text   `json:"git_commit"`
	GitDirty      *bool        `json:"git_dirty"`

	// Of a table or a file.
	Rows      *int64     `json:"rows"`
	FirstDate quant.Text `json:"first_date"`
	LastDate  quant.Text `json:"last_date"`
	Digest    quant.Text `json:"digest"`
}

// Edge says that the node From came from the node To.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind"` // read (an input), wrote (the run whose rows were read), ran (a run inside a run)
}

// Trace walks from a run back to what its result came from: its inputs, the
// runs that wrote them, and the runs that ran inside it and may have changed
// something. It ends, whatever the records say: each run is visited once.
// NotFound: there is no such run. A run that is named but not recorded is a
// node without a status.
func Trace(ctx context.Context, meta metastore.Store, runID string) (Lineage, error) {
	l := Lineage{Run: runID, Nodes: []Node{}, Edges: []Edge{}}
	if _, err := meta.GetRun(ctx, runID); err != nil {
		return l, err
	}
	seen := map[string]bool{}
	node := func(n Node) {
		if !seen[n.ID] {
			seen[n.ID] = true
			l.Nodes = append(l.Nodes, n)
		}
	}
	edges := map[Edge]bool{}
	edge := func(from, to, kind string) {
		if e := (Edge{runNode(from), to, kind}); !edges[e] {
			edges[e] = true
			l.Edges = append(l.Edges, e)
		}
	}
	origins, err := originsOf(ctx, meta, []string{runID})
	if err != nil {
		return l, err
	}
	for _, o := range origins {
		id := o.run.RunID
		if o.lost {
			node(Node{ID: runNode(id), Type: quant.IORun, RunID: quant.Text(id)})
			continue
		}
		p := o.run.Process
		node(Node{
			ID: runNode(id), Type: quant.IORun, Name: o.run.Kind, RunID: quant.Text(id), Status: o.run.Status, StartedAt: o.run.StartedAt,
			BinaryVersion: p.BinaryVersion, BinaryCommit: p.BinaryCommit, GitCommit: p.GitCommit, GitDirty: p.GitDirty,
		})
		for _, io := range o.inputs {
			if io.Kind == quant.IORun {
				edge(id, runNode(io.Name), "wrote")
				continue
			}
			n := Node{Type: io.Kind, Name: io.Name, Rows: io.Rows, FirstDate: io.FirstDate, LastDate: io.LastDate, Digest: io.Digest}
			n.ID = fmt.Sprintf("%s:%s@%s", io.Kind, io.Name, io.Digest)
			node(n)
			edge(id, n.ID, "read")
		}
		for _, child := range o.children {
			edge(id, runNode(child), "ran")
		}
	}
	slices.SortFunc(l.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(rank(a, runID), rank(b, runID)), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(l.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	return l, nil
}

// origin is a run that a result came from.
type origin struct {
	run      metastore.RunDetail // of one that is lost the RunID alone
	lost     bool                // it is named, and there is no record of it
	inputs   []quant.RunIO       // what it read, runs included
	children []string            // runs that ran inside it and may have changed something
	reader   int                 // the one before it that names it first; -1: it was asked for
}

// originsOf are some runs, and all that they came from, each once and behind one that
// names it.
func originsOf(ctx context.Context, meta metastore.Store, runs []string) ([]origin, error) {
	var list []origin
	known := map[string]bool{}
	add := func(id string, reader int) {
		if !known[id] {
			known[id] = true
			list = append(list, origin{run: metastore.RunDetail{Run: quant.Run{RunID: id}}, reader: reader})
		}
	}
	for _, id := range runs {
		add(id, -1)
	}
	for i := 0; i < len(list); i++ {
		id := list[i].run.RunID
		run, err := meta.GetRun(ctx, id)
		if errors.Is(err, quant.NotFound) {
			list[i].lost = true
			continue
		}
		if err != nil {
			return nil, err
		}
		list[i].run = run
		noted, err := meta.RunIO(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, io := range noted {
			if io.Direction != quant.In || io.Kind == quant.IOStage || io.Kind == quant.IOState || io.Kind == quant.IOSnapshot {
				continue
			}
			list[i].inputs = append(list[i].inputs, io)
			if io.Kind == quant.IORun {
				add(io.Name, i)
			}
		}
		children, err := meta.ListRuns(ctx, metastore.RunFilter{Parent: id, Brief: true})
		if err != nil {
			return nil, err
		}
		for _, c := range children {
			list[i].children = append(list[i].children, c.RunID)
			add(c.RunID, i)
		}
	}
	return list, nil
}

func runNode(id string) string { return "run:" + id }

// rank puts the run that was asked for first, then runs, tables, and files.
func rank(n Node, first string) int {
	switch {
	case string(n.RunID) == first:
		return 0
	case n.Type == quant.IORun:
		return 1
	case n.Type == quant.IOTable:
		return 2
	}
	return 3
}

// Tree draws the lineage, a line a node, what it came from below it. What has
// been drawn above is only named again.
func (l Lineage) Tree() []string {
	nodes := map[string]Node{}
	for _, n := range l.Nodes {
		nodes[n.ID] = n
	}
	below := map[string][]Edge{}
	for _, e := range l.Edges {
		below[e.From] = append(below[e.From], e)
	}
	order := func(e Edge) int {
		switch nodes[e.To].Type {
		case quant.IOTable:
			return 0
		case quant.IORun:
			return 2
		}
		return 1
	}
	for _, edges := range below {
		slices.SortStableFunc(edges, func(a, b Edge) int { return order(a) - order(b) })
	}
	var lines []string
	drawn := map[string]bool{}
	var draw func(id, lead, rest string)
	draw = func(id, lead, rest string) {
		n := nodes[id]
		line := lead + n.title()
		again := drawn[id]
		if again && len(below[id]) > 0 {
			line += " (above)"
		}
		lines = append(lines, line)
		if again {
			return
		}
		drawn[id] = true
		var to []string
		for _, e := range below[id] {
			if !slices.Contains(to, e.To) {
				to = append(to, e.To)
			}
		}
		for i, child := range to {
			if i == len(to)-1 {
				draw(child, rest+"└─ ", rest+"   ")
			} else {
				draw(child, rest+"├─ ", rest+"│  ")
			}
		}
	}
	draw(runNode(l.Run), "", "")
	return lines
}

func (n Node) title() string {
	name := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, n.Name)
	if n.Type == quant.IORun {
		if n.Status == "" {
			return fmt.Sprintf("run %s, of which there is no record", n.RunID)
		}
		parts := []string{name, quant.ShortID(string(n.RunID)), string(n.Status), n.StartedAt.UTC().Format("2006-01-02 15:04:05Z"), "quant", string(n.BinaryVersion)}
		if n.BinaryCommit != "" {
			parts = append(parts, abbreviated(string(n.BinaryCommit)))
		}
		if n.GitCommit != "" {
			parts = append(parts, "git", abbreviated(string(n.GitCommit)))
			if n.GitDirty != nil && *n.GitDirty {
				parts = append(parts, "(dirty)")
			}
		}
		return strings.Join(parts, " ")
	}
	text := n.Type + " " + name
	if n.Rows != nil {
		text += fmt.Sprintf(", %d rows", *n.Rows)
	}
	if n.FirstDate != "" {
		text += fmt.Sprintf(", %s to %s", n.FirstDate, n.LastDate)
	}
	if n.Digest != "" {
		text += ", " + abbreviatedDigest(string(n.Digest))
	}
	return text
}

func abbreviated(commit string) string {
	hex, dirty, found := strings.Cut(commit, "-")
	hex = hex[:min(len(hex), 12)]
	if found {
		return hex + "-" + dirty
	}
	return hex
}

func abbreviatedDigest(digest string) string {
	algorithm, hex, found := strings.Cut(digest, ":")
	if !found {
		return digest
	}
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// Dot writes the lineage in the language of Graphviz, an arrow from each
// result to what it came from.
func (l Lineage) Dot() []string {
	lines := []string{"digraph lineage {", "  rankdir=LR;", "  node [fontname=\"sans-serif\"];"}
	index := map[string]int{}
	for i, n := range l.Nodes {
		index[n.ID] = i
		shape := "note"
		switch n.Type {
		case quant.IORun:
			shape = "box"
		case quant.IOTable:
			shape = "cylinder"
		}
		lines = append(lines, fmt.Sprintf("  n%d [shape=%s, label=%s];", i, shape, dotText(n.title())))
	}
	for _, e := range l.Edges {
		lines = append(lines, fmt.Sprintf("  n%d -> n%d [label=%s];", index[e.From], index[e.To], dotText(e.Kind)))
	}
	return append(lines, "}")
}

// dotText is a quoted string of DOT. Within quotes only the quote is special
// to the reader, but a backslash is an escape to the layout: it is doubled.
// Control characters, which may not stand in a label, become spaces.
func dotText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError:
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
