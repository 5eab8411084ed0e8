package exec

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/exec/program"
	"quant/internal/git"
	"quant/internal/metastore"
	"quant/internal/session"
)

const (
	// beforeStart is how long a program waits at most until it is known what
	// differs from the commit: what it changes itself is not meant.
	beforeStart = 250 * time.Millisecond
	// afterEnd is how long a run waits at most, after its program has ended, for
	// what is being learned about it.
	afterEnd = 2 * time.Second
)

// inspection learns about a program, while it runs, what takes other programs to
// learn.
type inspection struct {
	session *session.Session
	ctx     context.Context
	cancel  context.CancelFunc

	code   chan finding // nil where there is no work tree
	python chan finding // nil for other programs
}

// finding is what was found out: an artifact, and what is recorded with the
// program's environment.
type finding struct {
	artifact []byte
	about    any // nil: nothing
	notes    []string
	err      error
}

// inspect begins. It returns once the program may start.
func inspect(ctx context.Context, s *session.Session, path string, environ []string, keepSecrets bool) *inspection {
	i := &inspection{session: s}
	i.ctx, i.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if tree := git.WorkTree(s.Registry.Process.WorkDir); tree != "" {
		i.code = make(chan finding, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			i.code <- codeOf(i.ctx, s, tree, keepSecrets)
		}()
		select {
		case <-done:
		case <-time.After(beforeStart):
		}
	}
	if python := program.PythonOf(path, valueOf(environ, "PATH")); python != "" {
		i.python = make(chan finding, 1)
		go func() {
			p, err := program.AskPython(i.ctx, python, environ)
			text := ""
			if len(p.Packages) > 0 {
				text = strings.Join(p.Packages, "\n") + "\n"
			}
			i.python <- finding{artifact: []byte(text), about: map[string]string{"executable": p.Executable, "version": p.Version}, err: err}
		}()
	}
	return i
}

// belongsTo tells which files are the lab's own and no code.
func belongsTo(s *session.Session) func(path string) bool {
	own := []string{s.MetaFile()}
	for _, path := range []string{s.DataDir, s.FactPath} {
		if abs, err := filepath.Abs(path); err == nil {
			own = append(own, abs)
		}
	}
	return func(path string) bool {
		for _, name := range own {
			rest, found := strings.CutPrefix(path, name)
			if found && (rest == "" || strings.ContainsAny(rest[:1], "/.-")) {
				return true
			}
		}
		return false
	}
}

// finish records what was found, as artifacts of the run and in about. It waits
// for what is not known yet, but not long.
func (i *inspection) finish(about map[string]any) {
	defer i.cancel()
	late := time.After(afterEnd)
	record := func(from chan finding, key, what, name string) {
		if from == nil {
			return
		}
		var found finding
		select {
		case found = <-from:
		case <-late:
			found.err = quant.Errorf(quant.Failed, "it took too long")
		}
		if found.err == nil && len(found.artifact) > 0 {
			found.err = i.store(name, found.artifact)
		}
		if found.err != nil {
			i.session.Log(metastore.Batch{Notes: []quant.Note{{Text: what + " not known: " + found.err.Error()}}})
			return
		}
		for _, note := range found.notes {
			i.session.Log(metastore.Batch{Notes: []quant.Note{{Text: note}}})
		}
		if found.about != nil {
			about[key] = found.about
		}
	}
	record(i.code, "code", "what differs from the commit is", quant.CodeDiff)
	record(i.python, "python", "the packages of Python are", quant.PythonPackages)
}

func (i *inspection) store(name string, content []byte) error {
	digest, size, err := i.session.Artifacts().Put(i.ctx, bytes.NewReader(content))
	if err != nil {
		return err
	}
	i.session.Log(metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}})
	return nil
}
