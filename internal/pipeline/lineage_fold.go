package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/dataset"
)

// manyFeatures is from how many features of a version on Folded takes them together.
const manyFeatures = 9

// Folded is the lineage for a person: many features of one version that the same runs
// read stand as one node, with how many they are, all their rows, and no digest.
func (l Lineage) Folded() Lineage {
	from := map[string][]string{} // of a node: who came from it
	for _, e := range l.Edges {
		from[e.To] = append(from[e.To], e.From+"\x00"+e.Kind)
	}
	groups := map[string][]int{} // nodes, by version and by who read them
	for i, n := range l.Nodes {
		if _, version, is := dataset.FeatureNamed(n.Name); is && n.Type == quant.IOTable {
			key := version + "\x00" + strings.Join(slices.Sorted(slices.Values(from[n.ID])), "\x00")
			groups[key] = append(groups[key], i)
		}
	}
	into := map[string]string{} // by the node that is folded: what it is then
	nodes := slices.Clone(l.Nodes)
	for _, members := range groups {
		if len(members) < manyFeatures {
			continue
		}
		_, version, _ := dataset.FeatureNamed(l.Nodes[members[0]].Name)
		one := Node{Type: quant.IOTable, Name: fmt.Sprintf("%s (%d features)", version, len(members)), FirstDate: l.Nodes[members[0]].FirstDate}
		one.ID = quant.IOTable + ":" + one.Name + "@" + l.Nodes[members[0]].ID // of the first, since others may have read as many
		rows := int64(0)
		for _, i := range members {
			n := l.Nodes[i]
			if n.Rows != nil {
				rows += *n.Rows
			}
			one.FirstDate, one.LastDate = min(cmp.Or(one.FirstDate, n.FirstDate), cmp.Or(n.FirstDate, one.FirstDate)), max(one.LastDate, n.LastDate)
			into[n.ID] = one.ID
		}
		one.Rows = &rows
		nodes[members[0]] = one
	}
	if len(into) == 0 {
		return l
	}
	folded := Lineage{Run: l.Run, Nodes: slices.DeleteFunc(nodes, func(n Node) bool { return into[n.ID] != "" }), Edges: []Edge{}}
	seen := map[Edge]bool{}
	for _, e := range l.Edges {
		if to := into[e.To]; to != "" {
			e.To = to
		}
		if !seen[e] {
			seen[e] = true
			folded.Edges = append(folded.Edges, e)
		}
	}
	return folded
}
