package exec_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/config"
	"quant/internal/exec"
	"quant/internal/exec/transcript"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/secret"
	"quant/internal/session"
)

// TestMain is also the quant that Again starts: it runs what stands behind -- as
// a recorded run of the lab that its environment names.
func TestMain(m *testing.M) {
	if os.Args[0] == "quant" {
		os.Exit(quant.ExitStatus(again(os.Args[1:])))
	}
	os.Exit(m.Run())
}

func again(args []string) error {
	ctx := context.Background()
	s, err := opened(ctx, place.Place{DataDir: os.Getenv(config.DataDir), MetaPath: os.Getenv(config.SQLitePath), FactPath: os.Getenv(config.DuckDBPath)})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Start(ctx, session.Command{Kind: "exec", Args: args}, os.Getenv(config.ParentRun)); err != nil {
		return err
	}
	return s.End(ctx, exec.Run(ctx, s, exec.Options{
		Argv: args[slices.Index(args, "--")+1:], Environ: os.Environ(), Streams: exec.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Signals: noSignals, LogMax: 1 << 20,
	}))
}

func noSignals() <-chan os.Signal { return nil }

func opened(ctx context.Context, at place.Place) (*session.Session, error) {
	mask := &secret.Masker{}
	mask.Know("hunter2hunter2")
	l := lab.New(lab.Options{Place: at, Mask: mask})
	return session.New(session.Options{Lab: l}), l.Open(ctx, false)
}

// ran is a program that has run as a recorded run.
type ran struct {
	t *testing.T
	*session.Session
	err error
	out string
	run metastore.RunDetail
}

// begun is a session in a lab of its own whose run has started.
func begun(t *testing.T, at place.Place, kind string, args ...string) *session.Session {
	t.Helper()
	return begunIn(t, "", at, kind, args...)
}

// begunIn is one whose process is recorded as at work in dir; "": in its own folder.
func begunIn(t *testing.T, dir string, at place.Place, kind string, args ...string) *session.Session {
	t.Helper()
	s, err := opened(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if dir != "" {
		process := *s.Registry.Process
		process.WorkDir = dir
		s.Registry.Process = &process
	}
	if _, err := s.Start(t.Context(), session.Command{Kind: kind, Args: args}, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program as a run of its own, with what it prints on stdout in a file.
func run(t *testing.T, at place.Place, change func(*exec.Options), argv ...string) ran {
	t.Helper()
	return runIn(t, "", at, change, argv...)
}

func runIn(t *testing.T, dir string, at place.Place, change func(*exec.Options), argv ...string) ran {
	t.Helper()
	s := begunIn(t, dir, at, "exec", append([]string{"exec", "--"}, argv...)...)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	o := exec.Options{Argv: argv, Environ: os.Environ(), Streams: exec.Streams{Out: out, Err: os.Stderr}, Signals: noSignals, LogMax: 1 << 20}
	if change != nil {
		change(&o)
	}
	r := ran{t: t, Session: s}
	r.err = s.End(t.Context(), exec.Run(t.Context(), s, o))
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	r.out = string(text)
	if r.run, err = s.Meta.GetRun(t.Context(), s.RunID()); err != nil {
		t.Fatal(err)
	}
	return r
}

// artifact is the content of an artifact of the run; found tells whether there is
// one.
func (r ran) artifact(name string) (text string, found bool) {
	r.t.Helper()
	list, err := r.Meta.Artifacts(r.t.Context(), r.RunID())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range list {
		if a.Name != name {
			continue
		}
		f, err := r.Artifacts().Open(r.t.Context(), a.Digest)
		if err != nil {
			r.t.Fatal(err)
		}
		defer f.Close()
		content, err := io.ReadAll(f)
		if err != nil {
			r.t.Fatal(err)
		}
		return string(content), true
	}
	return "", false
}

func (r ran) program() quant.Program {
	r.t.Helper()
	p, err := r.Meta.GetProgram(r.t.Context(), r.RunID())
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// about is what is recorded of the program's environment.
func (r ran) about() (about struct {
	Variables map[string]string
	Python    struct{ Executable, Version string }
}) {
	r.t.Helper()
	if err := json.Unmarshal(r.program().EnvironmentJSON, &about); err != nil {
		r.t.Fatal(err)
	}
	return about
}

func (r ran) log() string {
	r.t.Helper()
	reader, err := transcript.Open(r.LogFile(r.RunID()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	var b strings.Builder
	if err := reader.Copy(&b, -1); err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

func TestAProgramFindsTheRunAndTheLabInItsEnvironment(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	r := run(t, at, func(o *exec.Options) {
		o.Environ = append(o.Environ, "QUANT_RUN_ID=stale", "QUANT_DATA_DIR=/stale", "OMP_NUM_THREADS=3", "PYTHONSAFEPATH=hunter2hunter2", "UNRELATED=1")
	}, "sh", "-c", `echo "$QUANT_RUN_ID $QUANT_DATA_DIR $QUANT_SQLITE_PATH $QUANT_DUCKDB_PATH $UNRELATED"`)
	if want := strings.Join([]string{r.RunID(), at.DataDir, at.MetaPath, at.FactPath, "1\n"}, " "); r.err != nil || r.out != want {
		t.Errorf("%v: it saw %q, want %q", r.err, r.out, want)
	}
	variables := r.about().Variables
	if variables["OMP_NUM_THREADS"] != "3" || variables["PATH"] == "" || variables["UNRELATED"] != "" {
		t.Errorf("recorded are %v", variables)
	}
	if got := variables["PYTHONSAFEPATH"]; got == "" || strings.Contains(got, "hunter2") {
		t.Errorf("a secret of the environment is recorded as %q", got)
	}
	if p := r.program(); p.ChildPID == nil || p.UserUS == nil || p.OutputBytes == nil || *p.OutputBytes != int64(len(r.out)) {
		t.Errorf("%+v", p)
	}
}

func TestWhatAProgramPrintsIsKeptMasked(t *testing.T) {
	t.Parallel()
	r := run(t, place.In(t.TempDir()), nil, "sh", "-c", "echo key hunter2hunter2")
	if r.err != nil || r.out != "key hunter2hunter2\n" {
		t.Errorf("it printed %q, %v", r.out, r.err)
	}
	if log := r.log(); !strings.HasPrefix(log, "key ") || strings.Contains(log, "hunter2") {
		t.Errorf("kept is %q", log)
	}
}

func TestHowAProgramEndedIsAnExitStatus(t *testing.T) {
	t.Parallel()
	notExecutable := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(notExecutable, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		argv   []string
		status int
		silent bool
		text   string
	}{
		"status":          {[]string{"sh", "-c", "exit 7"}, 7, true, "exit status 7"},
		"signal":          {[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, true, "killed by SIGTERM"},
		"none":            {[]string{"there-is-no-such-program"}, 127, false, "there is no program"},
		"no such file":    {[]string{"/no/such/program"}, 127, false, "there is no program"},
		"not executable":  {[]string{notExecutable}, 126, false, "cannot be executed"},
		"ended well":      {[]string{"true"}, 0, false, ""},
		"stdin is closed": {[]string{"sh", "-c", "! cat"}, 0, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, place.In(t.TempDir()), nil, c.argv...)
			if c.status == 0 {
				if r.err != nil || r.run.Status != quant.Success {
					t.Errorf("%v, recorded %s", r.err, r.run.Status)
				}
				return
			}
			exit, ok := errors.AsType[quant.Exit](r.err)
			if !ok || exit.Status != c.status || exit.Silent != c.silent || !strings.Contains(r.err.Error(), c.text) {
				t.Errorf("%#v", r.err)
			}
			if r.run.Status != quant.Fail || !strings.Contains(string(r.run.ErrorText), c.text) {
				t.Errorf("recorded: %s %s", r.run.Status, r.run.ErrorText)
			}
		})
	}
}

func TestSignalsReachTheProgramAndDoNotEndTheRun(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 1)
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		for range 1000 {
			if _, err := os.Stat(ready); err == nil {
				signals <- syscall.SIGUSR1
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	r := run(t, place.In(t.TempDir()), func(o *exec.Options) { o.Signals = func() <-chan os.Signal { return signals } },
		"sh", "-c", `trap 'echo caught; exit 0' USR1; : > "$0"; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done; exit 1`, ready)
	if r.err != nil || r.out != "caught\n" {
		t.Errorf("%q, %v", r.out, r.err)
	}
}

func TestAProgramIsNotStartedOnceTheCommandIsCancelled(t *testing.T) {
	t.Parallel()
	s := begun(t, place.In(t.TempDir()), "exec")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := quant.Signalled{Number: 15, Name: "SIGTERM"}
	cancel(cause)
	started := filepath.Join(t.TempDir(), "started")
	err := exec.Run(ctx, s, exec.Options{Argv: []string{"touch", started}, Environ: os.Environ(), Signals: noSignals})
	if !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the program was started")
	}
}

func TestThePackagesOfAPythonProgramAreRecorded(t *testing.T) {
	t.Parallel()
	if _, err := osexec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 here")
	}
	script := filepath.Join(t.TempDir(), "train")
	if err := os.WriteFile(script, []byte("#!/usr/bin/env python3\nprint('trained')\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := run(t, place.In(t.TempDir()), nil, script)
	// A run waits for what python3 says of itself no longer than is good for a
	// person; on a machine that has other work it is asked again.
	for again := 0; again < 20 && r.about().Python.Version == ""; again++ {
		r = run(t, place.In(t.TempDir()), nil, script)
	}
	if r.err != nil || r.out != "trained\n" {
		t.Fatalf("%q, %v", r.out, r.err)
	}
	if python := r.about().Python; python.Version == "" || python.Executable == "" {
		t.Fatalf("python3 said of itself %+v", python)
	}
	if packages, found := r.artifact(quant.PythonPackages); found && !strings.Contains(packages, "==") {
		t.Errorf("the packages are %q", packages)
	}
}

// settings are those of a lab, as flags set them.
func settings(at place.Place) config.Settings {
	return config.Resolve(map[string]string{"data-dir": at.DataDir, "sqlite": at.MetaPath, "duckdb": at.FactPath},
		func(string) (string, bool) { return "", false }, nil)
}

// repeat runs a run again, in a session of its own.
func repeat(t *testing.T, at place.Place, ref string, change func(*exec.AgainOptions)) (s *session.Session, report exec.Report, out string, err error) {
	t.Helper()
	s = begun(t, at, exec.AgainKind, "runs", "rerun", ref)
	var b strings.Builder
	o := exec.AgainOptions{
		Environ: os.Environ(), Streams: exec.Streams{Out: &b, Err: os.Stderr}, Settings: settings(at),
		NamesLab: func([]string) bool { return false },
	}
	if change != nil {
		change(&o)
	}
	report, err = exec.Again(t.Context(), s, ref, o)
	return s, report, b.String(), s.End(t.Context(), err)
}

func tag(t *testing.T, s *session.Session, runID, name string) string {
	t.Helper()
	tags, err := s.Meta.Tags(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		if tag.Name == name {
			return tag.Value
		}
	}
	return ""
}

func TestARunIsRunAgainInThePresentLabAndLinkedToItsOrigin(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	origin := run(t, at, nil, "sh", "-c", `echo "$0 $1"; exit 3`, "two words", "last")
	s, report, out, err := repeat(t, at, "last:exec", nil)
	if exit, ok := errors.AsType[quant.Exit](err); !ok || exit.Status != 3 || out != origin.out {
		t.Errorf("%v: it printed %q, before %q", err, out, origin.out)
	}
	if report.Origin != origin.RunID() || report.Run == "" || report.Code != "" {
		t.Fatalf("%+v", report)
	}
	repetition, err := s.Meta.GetRun(t.Context(), report.Run)
	if err != nil || repetition.Status != quant.Fail || string(repetition.Process.ParentRunID) != s.RunID() {
		t.Errorf("%+v, %v", repetition, err)
	}
	for _, id := range []string{report.Run, s.RunID()} {
		if got := tag(t, s, id, quant.RerunOfTag); got != origin.RunID() {
			t.Errorf("run %s is a rerun of %q", id, got)
		}
	}
	if _, err := exec.Arguments(t.Context(), s, s.RunID(), nil); quant.CodeOf(err) != quant.Refused {
		t.Errorf("a rerun is run again: %v", err)
	}
}

func TestAMaskedArgumentMustBeGivenAgain(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	origin := run(t, at, nil, "sh", "-c", `test ${#1} = 14 && echo open || echo shut`, "x", "hunter2hunter2")
	if origin.out != "open\n" {
		t.Fatalf("%q", origin.out)
	}
	if _, _, _, err := repeat(t, at, origin.RunID(), nil); quant.CodeOf(err) != quant.Refused || !strings.Contains(quant.HintOf(err), "--set-arg 7=") {
		t.Errorf("%v, %s", err, quant.HintOf(err))
	}
	if _, _, out, err := repeat(t, at, origin.RunID(), func(o *exec.AgainOptions) { o.Set = []string{"7=hunter2hunter2"} }); err != nil || out != "open\n" {
		t.Errorf("%q, %v", out, err)
	}
	list, err := exec.Arguments(t.Context(), origin.Session, origin.RunID(), []string{"4=hunter2hunter2"})
	if err != nil || len(list) != 7 || list[3].Argument == "hunter2hunter2" || !list[6].Masked || list[0] != (exec.Argument{N: 1, Argument: "exec"}) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []string{"0=x", "8=x", "7", "x=7", "-1=x", "", "1=\x00"} {
		if _, err := exec.Arguments(t.Context(), origin.Session, origin.RunID(), []string{bad}); quant.CodeOf(err) != quant.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFlagsNameThePresentLabWhereTheLineNamesOne(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	origin := run(t, at, nil, "true")
	_, report, _, err := repeat(t, at, origin.RunID(), func(o *exec.AgainOptions) { o.NamesLab = func([]string) bool { return true } })
	if err != nil {
		t.Fatal(err)
	}
	repetition, err := origin.Meta.GetRun(t.Context(), report.Run)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal([]string{"quant", "exec", "--data-dir=" + at.DataDir, "--sqlite=" + at.MetaPath, "--duckdb=" + at.FactPath, "--", "true"})
	if got := string(repetition.Process.Argv); got != string(want) {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTheRecordedCodeIsWhatRunsAgain(t *testing.T) {
	t.Parallel()
	if _, err := osexec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	at, repo := place.In(t.TempDir()), t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := osexec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@b.c"}, args...)...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("job", "committed\n")
	git("add", "-A")
	git("commit", "-qm", "first")
	write("job", "changed\n")
	write("new", "hunter2hunter2\n")
	// A secret of the settings is masked, and code without it is not run as if it
	// were the same.
	masked := runIn(t, repo, at, nil, "sh", "-c", "cat job || true")
	diff, found := masked.artifact(quant.CodeDiff)
	if !found || !strings.Contains(diff, "+changed\n") || strings.Contains(diff, "hunter2") {
		t.Fatalf("code.diff is %q", diff)
	}
	if _, report, out, err := repeat(t, at, masked.RunID(), func(o *exec.AgainOptions) { o.Code = true }); quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), "masked in new:1") || out != "" || report.Run != "" {
		t.Errorf("%q, %v", out, err)
	}
	exact := runIn(t, repo, at, func(o *exec.Options) { o.KeepSecrets = true }, "cat", "job")
	if diff, _ := exact.artifact(quant.CodeDiff); !strings.Contains(diff, "+hunter2hunter2\n") {
		t.Errorf("asked to be exact, code.diff is %q", diff)
	}
	write("new", "new\n")
	origin := runIn(t, repo, at, nil, "sh", "-c", "cat job || true")
	write("job", "later\n")
	for _, c := range []struct {
		code, keep bool
		want       string
	}{{false, false, "later\n"}, {true, false, "changed\n"}, {true, true, "changed\n"}} {
		_, report, out, err := repeat(t, at, origin.RunID(), func(o *exec.AgainOptions) { o.Code, o.Keep = c.code, c.keep })
		if err != nil || out != c.want {
			t.Errorf("code %t, keep %t: it printed %q, %v", c.code, c.keep, out, err)
		}
		left, err := os.ReadDir(at.ScratchDir())
		if c.code && err != nil {
			t.Error(err)
		}
		if kept := report.Code != ""; kept != c.keep || len(left) != 0 != c.keep {
			t.Errorf("code %t, keep %t: %v is left, the report says %q", c.code, c.keep, left, report.Code)
		}
	}
}

func TestARepetitionThatDoesNotStartSaysWhy(t *testing.T) {
	t.Parallel()
	at := place.In(t.TempDir())
	origin := run(t, at, nil, "true")
	_, report, _, err := repeat(t, at, origin.RunID(), func(o *exec.AgainOptions) { o.Program = "/no/such/quant" })
	if err == nil || !strings.Contains(err.Error(), "start /no/such/quant") || report.Run != "" {
		t.Errorf("%+v, %v", report, err)
	}
	if _, _, _, err := repeat(t, at, "last:backtest", nil); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}
