package exec

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/exec/program"
	"quant/internal/git"
	"quant/internal/lab/place"
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

	code chan finding // nil where there is no work tree

	argv    []string
	path    string
	environ []string
	pythons *program.Watcher // nil: the program has not started
	asked   map[string]chan answer
	askedMu sync.Mutex
	memory  program.Memory // what interpreters said before
}

// answer is what an interpreter said of itself.
type answer struct {
	python program.Python
	err    error
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
func inspect(ctx context.Context, s *session.Session, path string, argv, environ []string, keepSecrets bool) *inspection {
	i := &inspection{session: s, path: path, argv: argv, environ: environ, asked: map[string]chan answer{}}
	i.memory = program.Memory{Dir: s.CacheDir(place.Pythons), Keep: func(text string) bool { return s.Mask.Known(text) == text }}
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
	return i
}

// started begins to look which Pythons the program runs.
func (i *inspection) started(pid int) {
	i.pythons = program.Watch(i.ctx, pid, func(python program.Interpreter) { i.ask(python) })
}

// ended says that the program has ended: what it runs cannot be seen any more.
func (i *inspection) ended() []program.Interpreter {
	if i.pythons == nil {
		return nil
	}
	return i.pythons.Stop()
}

// belongsTo tells which files of a work tree are the lab's own and no code. A work
// tree that stands in the lab, as recorded code does that is run again, is no less
// code for that.
func belongsTo(s *session.Session, tree string) func(path string) bool {
	endings := map[string]string{s.MetaFile(): "/.-"} // what a name may go on with
	if path, err := filepath.Abs(s.FactPath); err == nil {
		endings[path] = "/.-"
	}
	if path, err := filepath.Abs(s.DataDir); err == nil && !strings.HasPrefix(tree, path+"/") {
		endings[path] = "/"
	}
	return func(path string) bool {
		for name, ending := range endings {
			rest, found := strings.CutPrefix(path, name)
			if found && (rest == "" || strings.ContainsAny(rest[:1], ending)) {
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
	if i.code != nil {
		var found finding
		select {
		case found = <-i.code:
		case <-late:
			found.err = quant.Errorf(quant.Failed, "it took too long")
			late = closed()
		}
		if found.err == nil && len(found.artifact) > 0 {
			found.err = i.store(quant.CodeDiff, found.artifact)
		}
		if found.err != nil {
			i.note("what differs from the commit is not known: " + found.err.Error())
		} else {
			for _, note := range found.notes {
				i.note(note)
			}
			if found.about != nil {
				about["code"] = found.about
			}
		}
	}
	i.finishPython(about, late)
}

func closed() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func (i *inspection) note(text string) {
	i.session.Log(metastore.Batch{Notes: []quant.Note{{Text: text}}})
}

func (i *inspection) store(name string, content []byte) error {
	digest, size, err := i.session.Artifacts().Put(i.ctx, bytes.NewReader(content))
	if err != nil {
		return err
	}
	i.session.Log(metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}})
	return nil
}
