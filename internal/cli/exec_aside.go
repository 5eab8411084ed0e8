package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/config"
	"quant/internal/exec/program"
	"quant/internal/git"
	"quant/internal/metastore"
)

const (
	// beforeStart is how long a program waits at most until it is known what
	// differs from the commit: what it changes itself is not meant.
	beforeStart = 250 * time.Millisecond
	// afterEnd is how long a run waits at most, after its program has ended, for
	// what is being learned about it.
	afterEnd = 2 * time.Second
)

// aside learns about a program what takes other programs to learn, beside it.
type aside struct {
	env    *Env
	ctx    context.Context
	cancel context.CancelFunc

	diff   chan learned // nil where there is no work tree
	python chan learned // nil for other programs
}

// learned is what was found out: an artifact, and what is said of the program's
// environment.
type learned struct {
	artifact []byte
	about    any
	err      error
}

// lookAside begins. It returns once the program may start.
func (e *Env) lookAside(ctx context.Context, path string, childEnv []string) *aside {
	a := &aside{env: e}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if tree := git.WorkTree(e.Registry.Process.WorkDir); tree != "" {
		a.diff = make(chan learned, 1)
		begun := make(chan struct{})
		go func() {
			defer close(begun)
			diff, err := git.Diff(a.ctx, tree, e.ownFile())
			a.diff <- learned{artifact: e.Mask.KnownBytes(diff), err: err}
		}()
		select {
		case <-begun:
		case <-time.After(beforeStart):
		}
	}
	if python := program.PythonOf(path, lookup(childEnv, "PATH")); python != "" {
		a.python = make(chan learned, 1)
		go func() {
			p, err := program.AskPython(a.ctx, python, childEnv)
			text := ""
			if len(p.Packages) > 0 {
				text = strings.Join(p.Packages, "\n") + "\n"
			}
			a.python <- learned{[]byte(text), map[string]string{"executable": p.Executable, "version": p.Version}, err}
		}()
	}
	return a
}

// ownFile tells which files are the lab's own and no code.
func (e *Env) ownFile() func(path string) bool {
	own := []string{e.MetaFile(), e.absolute(e.Settings.Value(config.DataDir)), e.absolute(e.Settings.Value(config.DuckDBPath))}
	return func(path string) bool {
		for _, name := range own {
			rest, found := strings.CutPrefix(path, name)
			if name != "" && found && (rest == "" || strings.ContainsAny(rest[:1], "/.-")) {
				return true
			}
		}
		return false
	}
}

func (e *Env) absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	return abs
}

// finish notes what was learned, as artifacts of the run and in environment. It
// waits for what is not known yet, but not long.
func (a *aside) finish(environment map[string]any) {
	defer a.cancel()
	late := time.After(afterEnd)
	take := func(from chan learned, what, name string) {
		if from == nil {
			return
		}
		var got learned
		select {
		case got = <-from:
		case <-late:
			got.err = quant.Errorf(quant.Failed, "it took too long")
		}
		if got.err == nil && len(got.artifact) > 0 {
			got.err = a.keep(name, got.artifact)
		}
		if got.err != nil {
			a.env.Run.Log(metastore.Batch{Notes: []quant.Note{{Text: what + " not known: " + got.err.Error()}}})
			return
		}
		if got.about != nil {
			environment["python"] = got.about
		}
	}
	take(a.diff, "what differs from the commit is", quant.CodeDiff)
	take(a.python, "the packages of Python are", quant.PythonPackages)
}

func (a *aside) keep(name string, content []byte) error {
	digest, size, err := a.env.Artifacts().Put(a.ctx, bytes.NewReader(content))
	if err != nil {
		return err
	}
	a.env.Run.Log(metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}})
	return nil
}
