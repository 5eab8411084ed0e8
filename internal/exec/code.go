package exec

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"quant"
	"quant/internal/git"
	"quant/internal/metastore"
	"quant/internal/secret"
	"quant/internal/session"
)

// recordedCode is what is recorded of a program's code beside its commit and the
// artifact code.diff: the member code of its environment.
type recordedCode struct {
	Commit  string           `json:"commit"`           // "": the work tree had none, and code.diff is all
	Folder  string           `json:"folder,omitempty"` // without a commit: where the program ran in the work tree
	Inside  []git.Repository `json:"inside,omitempty"`
	LeftOut []git.LeftOut    `json:"left_out,omitempty"` // changed or new files that are not in code.diff
	More    int              `json:"left_out_more,omitempty"`
	// Masked are new lines of which a part is not on record. What is masked in the
	// lines that the commit has is there.
	Masked     []maskedLine `json:"masked,omitempty"`
	MaskedMore int          `json:"masked_more,omitempty"`
	// Exact says that code.diff holds what was there, secrets included.
	Exact bool `json:"exact,omitempty"`
}

// maskedLine is a line of a file as it was when the program ran; 0: its name.
type maskedLine struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// maxMasked is how many masked lines are recorded; the others are counted.
const maxMasked = 20

// codeOf finds out what of the code in a work tree is not committed, and masks it
// unless it is to be exact.
func codeOf(ctx context.Context, s *session.Session, tree string, exact bool) finding {
	changes, err := git.Uncommitted(ctx, tree, belongsTo(s, tree))
	if err != nil {
		return finding{err: err}
	}
	code := recordedCode{Commit: changes.Commit, Inside: changes.Inside, LeftOut: changes.LeftOut, More: changes.More, Exact: exact && len(changes.Patch) > 0}
	patch := changes.Patch
	if !exact {
		patch = code.mask(s.Mask, patch)
	}
	found := finding{artifact: patch}
	for _, r := range changes.Inside {
		if r.NotKept != "" {
			found.notes = append(found.notes, fmt.Sprintf("what differs from the commit in %s is not known: %s", r.Path, r.NotKept))
		}
	}
	if code.Commit == "" {
		real, err := filepath.EvalSymlinks(s.Registry.Process.WorkDir)
		if err == nil {
			tree, err = filepath.EvalSymlinks(tree)
		}
		if err == nil {
			code.Folder, err = filepath.Rel(tree, real)
		}
		if err != nil {
			return finding{err: quant.Errorf(quant.Failed, "find the folder in its work tree: %w", err)}
		}
		found.notes = append(found.notes, "the work tree has no commit yet: its files are kept as code.diff")
	}
	if code.Commit == "" || code.Exact || len(code.Inside)+len(code.LeftOut)+len(code.Masked) > 0 {
		found.about = code
	}
	return found
}

// mask masks a patch line by line, so that it stays one.
func (c *recordedCode) mask(m *secret.Masker, patch []byte) []byte {
	masked := func(file string, line int) {
		if len(c.Masked) < maxMasked {
			c.Masked = append(c.Masked, maskedLine{file, line})
		} else {
			c.MaskedMore++
		}
	}
	return git.Rewrite(patch, func(h git.Hunk) []string {
		texts := make([]string, len(h.Lines))
		for i, l := range h.Lines {
			texts[i] = l.Text
		}
		out := m.Code(h.File(), texts)
		for i, l := range h.Lines {
			if l.Sign == '+' && out[i] != l.Text {
				masked(h.NewFile, l.New)
			}
		}
		return out
	}, func(file, line string) string {
		if at := strings.LastIndex(line, "@@ "); at > 0 && strings.HasPrefix(line, "@@ ") { // a line of the file stands behind a hunk's range, for people
			at = strings.Index(line[3:], "@@ ") + 3
			return line[:at+3] + m.Code(file, []string{line[at+3:]})[0]
		}
		out := m.Known(line)
		if out != line {
			masked(file, 0)
		}
		return out
	})
}

// codeRecorded is what is recorded of the code of a run; without a record, its
// commit alone is known, and known tells that.
func codeRecorded(ctx context.Context, meta metastore.Store, runID string) (code recordedCode, known bool, err error) {
	p, err := meta.GetProgram(ctx, runID)
	if quant.CodeOf(err) == quant.NotFound {
		return code, false, nil
	}
	if err != nil {
		return code, false, err
	}
	var about struct {
		Code *recordedCode `json:"code"`
	}
	if len(p.EnvironmentJSON) > 0 {
		if err := json.Unmarshal(p.EnvironmentJSON, &about); err != nil {
			return code, false, quant.Errorf(quant.Store, "run %s: what is recorded of its program is no JSON: %w", quant.ShortID(runID), err)
		}
	}
	if about.Code == nil {
		return code, false, nil
	}
	return *about.Code, true, nil
}

// refuseMaskedCode is the error of code of which a part is not on record.
func refuseMaskedCode(runID string, c recordedCode) error {
	if len(c.Masked) == 0 {
		return nil
	}
	var places []string
	for _, at := range c.Masked[:min(3, len(c.Masked))] {
		place := at.File
		if at.Line > 0 {
			place = fmt.Sprintf("%s:%d", at.File, at.Line)
		}
		places = append(places, place)
	}
	text := strings.Join(places, ", ")
	if more := len(c.Masked) - len(places) + c.MaskedMore; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	id := quant.ShortID(runID)
	return quant.Errorf(quant.Refused, "the code of run %s cannot be run again as it was: a secret was masked in %s", id, text).
		WithHint("run it without --code, or write the changes out (quant runs artifact %s %s) and fill the values in; `quant exec --keep-secrets` records them exactly", id, quant.CodeDiff)
}

// leftOut says what of the changes is not on record, "" for nothing.
func (c recordedCode) leftOut() string {
	if len(c.LeftOut) == 0 {
		return ""
	}
	var names []string
	for _, f := range c.LeftOut[:min(3, len(c.LeftOut))] {
		names = append(names, f.Path)
	}
	text := strings.Join(names, ", ")
	if more := len(c.LeftOut) - len(names) + c.More; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
