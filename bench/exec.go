package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// commitsOfExec is how many durable commits a recorded program makes: start,
// resolved config with what is said of the run, the program's process, end.
const commitsOfExec = 4

// execBound is what `quant exec -- true` may take beyond what it cannot avoid.
const execBound = 15 * time.Millisecond

func recordedProgram(ctx context.Context, b *bench) ([]figure, error) {
	outside := filepath.Join(b.dir, "exec")
	if err := os.MkdirAll(outside, 0o700); err != nil {
		return nil, err
	}
	for dir := b.dir; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return nil, fmt.Errorf("%s is inside a git work tree: set TMPDIR", outside)
		}
	}
	commits, stop, err := commitsIn(ctx, b, outside)
	if err != nil {
		return nil, err
	}
	defer stop()
	timed := func(dir, name string, args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			u, err := process(ctx, dir, name, args...)
			return u.wall, err
		}
	}
	truth, err := exec.LookPath("true")
	if err != nil {
		return nil, err
	}
	times, err := inTurn(60,
		timed(outside, b.quant, "exec", "--", truth), timed(outside, b.quant, "version"), timed(outside, truth),
		func() (time.Duration, error) { return commits(commitsOfExec) })
	if err != nil {
		return nil, err
	}
	whole, version, bare, durable := median(times[0]), median(times[1]), median(times[2]), median(times[3])
	beyond := whole - version - bare - durable
	figures := []figure{
		note("`quant exec -- true`, whole process, median of 60", "%s", ms(whole)),
		note("`quant version`, whole process", "%s", ms(version)),
		note("`true`", "%s", ms(bare)),
		note(fmt.Sprintf("its %d bare durable commits", commitsOfExec), "%s", ms(durable)),
		{"what is left, outside a git work tree", ms(beyond), beyond <= execBound},
	}
	packages, err := packagesOfPython(ctx, outside, b.quant, whole-bare)
	if err != nil {
		return nil, err
	}
	figures = append(figures, packages)
	git, err := exec.LookPath("git")
	if err != nil {
		return append(figures, note("inside a git work tree", "not measured: no git here")), nil
	}
	inside, err := workTree(ctx, b, git)
	if err != nil {
		return nil, err
	}
	if _, err := process(ctx, inside, b.quant, "config"); err != nil {
		return nil, err
	}
	times, err = inTurn(40, timed(inside, b.quant, "exec", "--", truth), timed(inside, git, "status", "--porcelain"))
	if err != nil {
		return nil, err
	}
	within, status := median(times[0]), median(times[1])
	return append(figures,
		note(fmt.Sprintf("the same in a git work tree of %d files, %d of them changed", treeFiles, treeChanged), "%s", ms(within)),
		note("`git status --porcelain` there", "%s", ms(status)),
		note("what the work tree costs over that", "%s", ms(within-whole-status)),
	), nil
}

// packagesBound is what the list of an unchanged interpreter's packages may add.
const packagesBound = 10 * time.Millisecond

// packagesOfPython times a recorded Python script beside the bare one. What exec
// takes of any program is no part of it.
func packagesOfPython(ctx context.Context, dir, quant string, ofAny time.Duration) (figure, error) {
	const what = "the list of the packages of a Python script, unchanged since it was made"
	python, err := exec.LookPath("python3")
	if err != nil {
		return note(what, "not measured: no python3 here"), nil
	}
	script := []string{"-c", "import time; time.sleep(0.02)"}
	run := func(name string, args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			u, err := process(ctx, dir, name, args...)
			return u.wall, err
		}
	}
	times, err := inTurn(20, run(quant, append([]string{"exec", "--", python}, script...)...), run(python, script...))
	if err != nil {
		return figure{}, err
	}
	beyond := median(times[0]) - median(times[1]) - ofAny
	return figure{what, ms(beyond), beyond <= packagesBound}, nil
}

func commitsIn(ctx context.Context, b *bench, dir string) (func(n int) (time.Duration, error), func(), error) {
	if _, err := process(ctx, dir, b.quant, "config"); err != nil {
		return nil, nil, err
	}
	return bareCommits(ctx, filepath.Join(dir, "data", "bare.db"))
}

const treeFiles, treeChanged = 500, 10

// workTree makes a git work tree in which a few files differ.
func workTree(ctx context.Context, b *bench, git string) (string, error) {
	dir := filepath.Join(b.dir, "tree")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	write := func(n int, text string) error {
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.txt", i)), fmt.Appendf(nil, "%s %d\n", text, i), 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(treeFiles, "first"); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("data/\n"), 0o600); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", "first"}} {
		if _, err := process(ctx, dir, git, args...); err != nil {
			return "", err
		}
	}
	return dir, write(treeChanged, "second")
}
