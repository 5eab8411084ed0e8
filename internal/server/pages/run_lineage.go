package pages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"

	"quant"
	"quant/internal/pipeline"
)

// The bounds of a graph, and of the time that its search may take.
const (
	maxNodes    = 80
	tracingTime = 2 * time.Second
)

// graph is a lineage as it is drawn: columns from the sources on the left to what the
// run wrote on the right.
type graph struct {
	Width, Height int
	Nodes         []graphNode
	Edges         []graphEdge
	Left          int // nodes that are not drawn
}

type graphNode struct {
	X, Y     int
	Type     string // run, table, file, ...
	Name     string
	Sub      string
	Whole    string
	Link     string
	At       bool // the run itself
	Status   quant.Status
	id       string
	column   int
	position int
}

type graphEdge struct{ Path, Kind string }

// The measures of a graph, in pixels.
const (
	nodeWidth  = 176
	nodeHeight = 42
	columnGap  = 64
	rowGap     = 12
	graphEdges = 12
)

// runLineage draws what a run's results came from, and what it wrote.
func (p *pages) runLineage(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/lineage")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/lineage")
	if err != nil {
		return err
	}
	var more struct {
		Graph *graph
		Tree  []string
		Why   string
	}
	ctx, stop := context.WithTimeout(r.Context(), tracingTime)
	defer stop()
	lineage, err := pipeline.Trace(ctx, p.Meta, id)
	switch {
	case err == nil:
		g := draw(lineage.Folded(), v.Outputs)
		more.Graph = &g
		if more.Tree = lineage.Folded().Tree(); len(more.Tree) > morePart {
			more.Tree = append(more.Tree[:morePart], fmt.Sprintf("... and %s more; quant lineage %s shows all", thousands(int64(len(more.Tree)-morePart)), quant.ShortID(id)))
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && r.Context().Err() == nil:
		more.Why = "It came from more runs than are followed here. `quant lineage " + quant.ShortID(id) + "` shows all."
	default:
		return err
	}
	return p.showRun(w, r, v, "run_lineage.html", "Lineage", more)
}

// draw places the nodes of a lineage: the run, to its left what it came from by how
// many steps away it is, to its right what it wrote.
func draw(l pipeline.Lineage, outputs []quant.RunIO) graph {
	nodes := map[string]pipeline.Node{}
	for _, n := range l.Nodes {
		nodes[n.ID] = n
	}
	below := map[string][]string{}
	for _, e := range l.Edges {
		below[e.From] = append(below[e.From], e.To)
	}
	self := "run:" + l.Run
	order, known := []string{self}, map[string]bool{self: true} // the nearest first
	for at := 0; at < len(order); at++ {
		for _, to := range below[order[at]] {
			if !known[to] {
				known[to] = true
				order = append(order, to)
			}
		}
	}
	var g graph
	if len(order) > maxNodes {
		g.Left = len(order) - maxNodes
		order = order[:maxNodes]
	}
	column := columns(order, below)
	deepest := 0
	for _, id := range order {
		n := graphNode{id: id, column: column[id], At: id == self}
		describe(&n, nodes[id])
		g.Nodes = append(g.Nodes, n)
		deepest = max(deepest, n.column)
	}
	type between struct{ from, to, kind string }
	var edges []between
	for _, e := range l.Edges {
		edges = append(edges, between{e.To, e.From, e.Kind})
	}
	for i, io := range outputs {
		if io.Kind == quant.IOSnapshot {
			continue // of the whole lake
		}
		if len(g.Nodes) == maxNodes+maxNodes/4 {
			g.Left += len(outputs) - i
			break
		}
		id := fmt.Sprintf("out:%s:%s", io.Kind, io.Name)
		n := graphNode{id: id, column: -1}
		describe(&n, pipeline.Node{Type: io.Kind, Name: io.Name, Rows: io.Rows, FirstDate: io.FirstDate, LastDate: io.LastDate, Digest: io.Digest})
		g.Nodes = append(g.Nodes, n)
		edges = append(edges, between{self, id, "wrote"})
	}
	g.place(deepest)
	at := map[string]graphNode{}
	for _, n := range g.Nodes {
		at[n.id] = n
	}
	for _, e := range edges {
		from, drawn := at[e.from]
		to, drawnToo := at[e.to]
		if !drawn || !drawnToo || e.from == e.to {
			continue
		}
		x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
		bend := max(columnGap/2, (x2-x1)/2)
		g.Edges = append(g.Edges, graphEdge{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2), e.kind})
	}
	return g
}

// columns says how many steps the longest way from the first node to each is, so that
// every edge leads one way. What records say in a circle is followed once.
func columns(order []string, below map[string][]string) map[string]int {
	column, within := map[string]int{}, map[string]bool{}
	for _, id := range order {
		column[id] = 0
	}
	var push func(id string, steps int)
	left := 100 * len(order) // of the ways through a graph there may be very many
	push = func(id string, steps int) {
		at, drawn := column[id]
		if left--; !drawn || within[id] || left < 0 || steps < at || steps == at && steps > 0 {
			return
		}
		column[id], within[id] = steps, true
		for _, to := range below[id] {
			push(to, steps+1)
		}
		within[id] = false
	}
	push(order[0], 0)
	return column
}

// place gives the nodes their places: the deepest column is the leftmost.
func (g *graph) place(deepest int) {
	rows := map[int]int{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		n.position = rows[n.column]
		rows[n.column]++
	}
	most, right := 0, deepest
	for column, count := range rows {
		most = max(most, count)
		if column < 0 {
			right = deepest + 1
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		n.X = graphEdges + (deepest-n.column)*(nodeWidth+columnGap)
		free := (most - rows[n.column]) * (nodeHeight + rowGap)
		n.Y = graphEdges + free/2 + n.position*(nodeHeight+rowGap)
	}
	g.Width = 2*graphEdges + right*(nodeWidth+columnGap) + nodeWidth
	g.Height = 2*graphEdges + most*(nodeHeight+rowGap) - rowGap
	slices.SortStableFunc(g.Nodes, func(a, b graphNode) int { return cmp.Compare(b.column, a.column) }) // as one reads
}

// describe says what a node is.
func describe(n *graphNode, of pipeline.Node) {
	n.Type, n.Name, n.Whole, n.Status = of.Type, of.Name, of.Name, of.Status
	switch {
	case of.Type == quant.IORun && of.RunID == "": // written down as an input or output
		n.Name, n.Link = quant.ShortID(of.Name), "/runs/"+of.Name
		n.Sub = "run"
	case of.Type == quant.IORun:
		n.Link = "/runs/" + string(of.RunID)
		n.Sub = quant.ShortID(string(of.RunID))
		n.Whole = of.Name + " " + string(of.RunID)
		if of.Status == "" {
			n.Name, n.Link = "no record", ""
		}
	case of.Type == quant.IOFile:
		n.Name = path.Base(of.Name)
		n.Sub = "file"
		if len(of.Digest) > 15 {
			n.Sub = "file " + string(of.Digest[7:15])
		}
	default:
		n.Sub = of.Type
	}
	if of.Rows != nil {
		n.Sub = of.Type + ", " + thousands(*of.Rows) + " rows"
	}
	if of.FirstDate != "" {
		n.Whole += ", " + string(of.FirstDate) + " to " + string(of.LastDate)
	}
}
