package runs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"quant"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/session"
)

// StarTag marks a run that somebody wants to find again; its value is StarValue.
const (
	StarTag   = "star"
	StarValue = "yes"
)

// Actor does to runs what somebody asks for through a face of the lab that serves
// several, such as a page. Each action is a run of its own inside the session's,
// recorded with the command line that does the same and with the tag quant.ByTag,
// which names who asked. Its methods may be called from several goroutines. A ref
// names a run as on the command line.
type Actor struct {
	Session *session.Session // of the face; its run is open
	By      string           // who asks
	// StopClient ends a run that a client of the face makes, and tells whether it is
	// one; nil: there are none.
	StopClient func(ctx context.Context, runID, by string) (made bool, err error)
}

// Acted is what became of the runs that an action was about.
type Acted struct {
	ActionID string   `json:"action_run_id"` // the run as which it is recorded
	By       string   `json:"by"`
	Changes  []Change `json:"changes"`
}

// What became of a run that an action wrote to.
const (
	Tagged   = "tagged"
	Untagged = "untagged"
	Noted    = "noted"
)

// Tag sets tags of a run, all of them or none. Errors: those of Resolve; Invalid
// for a tag that breaks a rule; Conflict for a deleted run.
func (a Actor) Tag(ctx context.Context, ref string, tags []quant.Tag) (Acted, error) {
	if len(tags) == 0 {
		return Acted{}, quant.Errorf(quant.Invalid, "no tag is named").WithHint("name at least one, with its value")
	}
	args := []string{"tag"}
	for _, t := range tags {
		args = append(args, t.Name+"="+t.Value)
	}
	return a.log(ctx, ref, args, Tagged, metastore.Batch{Tags: tags})
}

// SetName gives a run a name, by which `@NAME` finds it. Errors: those of Tag.
func (a Actor) SetName(ctx context.Context, ref, name string) (Acted, error) {
	return a.Tag(ctx, ref, []quant.Tag{{Name: quant.NameTag, Value: name}})
}

// Star marks a run. Errors: those of Tag.
func (a Actor) Star(ctx context.Context, ref string) (Acted, error) {
	return a.Tag(ctx, ref, []quant.Tag{{Name: StarTag, Value: StarValue}})
}

// Unstar takes the mark away. Errors: those of Untag.
func (a Actor) Unstar(ctx context.Context, ref string) (Acted, error) {
	return a.Untag(ctx, ref, []string{StarTag})
}

// Note adds a note to a run. Errors: those of Resolve; Invalid for one that is empty
// or too long; Conflict for a deleted run.
func (a Actor) Note(ctx context.Context, ref, text string) (Acted, error) {
	return a.log(ctx, ref, []string{"note", text}, Noted, metastore.Batch{Notes: []quant.Note{{Text: text}}})
}

// log stores a batch for the run that ref names, as `quant log` does.
func (a Actor) log(ctx context.Context, ref string, args []string, change string, b metastore.Batch) (Acted, error) {
	return a.write(ctx, ref, args, change, func(ctx context.Context, s *session.Session, id string) (logstream.Counts, error) {
		var counts logstream.Counts
		counts.Add(b)
		return counts, s.Registry.Log(ctx, id, b)
	})
}

// Untag takes tags of a run away, all of them or none. Errors: those of Resolve;
// NotFound for a tag that it does not have; Conflict for a deleted run.
func (a Actor) Untag(ctx context.Context, ref string, names []string) (Acted, error) {
	if len(names) == 0 {
		return Acted{}, quant.Errorf(quant.Invalid, "no tag is named").WithHint("name at least one")
	}
	args := append([]string{"tag", "--delete"}, names...)
	return a.write(ctx, ref, args, Untagged, func(ctx context.Context, s *session.Session, id string) (logstream.Counts, error) {
		marks, err := s.Meta.MarksOf(ctx, id)
		if err == nil && marks.Deletion != nil {
			err = quant.Errorf(quant.Conflict, "run %s is deleted", id).WithHint("restore it first")
		}
		if err == nil {
			err = s.Registry.DeleteTags(ctx, id, names)
		}
		return logstream.Counts{Removed: len(names)}, err
	})
}

// write records one `quant log` and does it. Like that command it counts as reading:
// what it writes belongs to the run that it names.
func (a Actor) write(ctx context.Context, ref string, args []string, change string, do func(ctx context.Context, s *session.Session, id string) (logstream.Counts, error)) (Acted, error) {
	id, err := a.Session.Resolve(ctx, ref)
	if err != nil {
		return Acted{}, err
	}
	run, err := a.Session.Meta.GetRun(ctx, id)
	if err != nil {
		return Acted{}, err
	}
	line := []string{"log", args[0], "--run", id}
	if args[1] != "--delete" && slices.ContainsFunc(args[1:], func(arg string) bool { return strings.HasPrefix(arg, "-") }) {
		line = append(line, "--")
	}
	line = append(line, args[1:]...)
	c := session.Command{Kind: "log." + args[0], Args: line, Flags: map[string]string{"run": id}, Operands: args[1:], Reads: true}
	return a.act(ctx, c, func(ctx context.Context, s *session.Session) ([]Change, error) {
		counts, err := do(ctx, s, id)
		if err != nil {
			return nil, err
		}
		s.Record(counts.Outputs()...)
		return []Change{{RunID: id, Kind: run.Kind, Change: change}}, nil
	})
}

// Delete is Delete as an action.
func (a Actor) Delete(ctx context.Context, refs []string, children bool) (Acted, error) {
	return a.mark(ctx, "delete", refs, children, Delete)
}

// Restore is Restore as an action.
func (a Actor) Restore(ctx context.Context, refs []string, children bool) (Acted, error) {
	return a.mark(ctx, "restore", refs, children, Restore)
}

func (a Actor) mark(ctx context.Context, verb string, refs []string, children bool, do func(context.Context, *session.Session, []string, bool) ([]Change, error)) (Acted, error) {
	if len(refs) == 0 {
		return Acted{}, quant.Errorf(quant.Invalid, "no run is named").WithHint("name at least one")
	}
	var ids []string // a run that names itself by its place, such as last, is another once this one is recorded
	for _, ref := range refs {
		id, err := a.Session.Resolve(ctx, ref)
		if err != nil {
			return Acted{}, err
		}
		if id == a.Session.RunID() {
			return Acted{}, quant.Errorf(quant.Conflict, "run %s is the one that serves this", id).WithHint("name another run")
		}
		ids = append(ids, id)
	}
	c := session.Command{Kind: "runs." + verb, Args: append([]string{"runs", verb}, ids...), Operands: ids, Flags: map[string]string{}}
	if children {
		c.Args, c.Flags["children"] = append(c.Args, "--children"), "true"
	}
	return a.act(ctx, c, func(ctx context.Context, s *session.Session) ([]Change, error) {
		return do(ctx, s, ids, children)
	})
}

func (a Actor) act(ctx context.Context, c session.Command, do func(ctx context.Context, s *session.Session) ([]Change, error)) (Acted, error) {
	acted := Acted{By: a.By}
	var err error
	acted.ActionID, err = a.Do(ctx, c, func(ctx context.Context, s *session.Session) (err error) {
		acted.Changes, err = do(ctx, s)
		return err
	})
	return acted, err
}

// Do records an action and does it, and returns the run as which it is recorded. Once
// begun it is finished, also when who asked is gone.
func (a Actor) Do(ctx context.Context, c session.Command, do func(ctx context.Context, s *session.Session) error) (runID string, err error) {
	if a.By == "" {
		return "", errors.New("an action names who asks for it")
	}
	c.Voice = session.Silent{} // who asked is told
	return a.Session.Inside(context.WithoutCancel(ctx), c, func(ctx context.Context, s *session.Session) error {
		s.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.ByTag, Value: a.By}}})
		return do(ctx, s)
	})
}
