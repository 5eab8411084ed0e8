package pages

import (
	"errors"
	"net/http"
	"strings"

	"quant"
	"quant/internal/artifact"
	"quant/internal/runs"
)

// maxDiffLines is how many lines of a diff a page shows.
const maxDiffLines = 5_000

// diffLine is a line of a diff.
type diffLine struct {
	Kind string // file, hunk, added, removed or ""
	Text string
}

// readDiff tells the lines of a unified diff apart.
func readDiff(text string) (lines []diffLine) {
	head := true // before the first hunk of a file
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		kind := ""
		switch {
		case strings.HasPrefix(line, "diff "):
			kind, head = "file", true
		case strings.HasPrefix(line, "@@"):
			kind, head = "hunk", false
		case head:
			kind = "soft"
		case strings.HasPrefix(line, "+"):
			kind = "added"
		case strings.HasPrefix(line, "-"):
			kind = "removed"
		}
		if lines = append(lines, diffLine{kind, quant.Clip(line, 2000)}); len(lines) == maxDiffLines {
			break
		}
	}
	return lines
}

// runCode shows the code that a run ran: its commit, and what differed from it.
func (p *pages) runCode(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/code")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/code")
	if err != nil {
		return err
	}
	var more struct {
		Diff []diffLine
		File string
		Cut  bool
		Why  string
	}
	a, err := runs.Artifact(r.Context(), p.Meta, id, quant.CodeDiff)
	switch {
	case errors.Is(err, quant.NotFound):
		more.Why = "No change to the code was kept. A program that runs under quant exec keeps what is not committed."
	case err != nil:
		return err
	default:
		more.File = "/runs/" + id + "/files/" + pathOf(a.Name)
		content, err := p.Artifacts().Reader(r.Context(), a.Digest)
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }() // it was only read
		text, cut, err := content.Text(4 * previewText)
		if errors.Is(err, artifact.ErrNoText) {
			more.Why = "The change is no text that can be shown."
			break
		}
		if err != nil {
			return err
		}
		more.Diff = readDiff(text)
		more.Cut = cut || len(more.Diff) == maxDiffLines
	}
	return p.showRun(w, r, v, "run_code.html", "Code", more)
}
