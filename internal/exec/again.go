package exec

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/term"

	"quant"
	"quant/internal/config"
	"quant/internal/git"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/secret"
	"quant/internal/session"
)

// AgainKind is the kind of a run that runs another again; it is never run again
// itself.
const AgainKind = "runs.rerun"

// AgainOptions say how a run is run again.
type AgainOptions struct {
	Set  []string // N=VALUE: another value for the Nth recorded argument, from 1
	Code bool     // with the recorded code, in a git worktree
	Keep bool     // leave that worktree; without Code there is none

	Program  string   // the file of quant; "": the running program's own
	Environ  []string // NAME=VALUE of this process
	Streams  Streams
	Settings config.Settings // of the present lab
	// NamesLab reports whether a command line names its lab by flags: they are
	// stronger than variables, so it gets flags that name the present one.
	NamesLab func(args []string) bool
}

// Report is what running a run again came to. It is filled in as far as Again got.
type Report struct {
	Origin string // the run that was run again
	Run    string // its repetition, recorded and linked to it; "": none
	Code   string // the worktree that was left; "": none
	Forget bool   // a repository knows of that worktree
}

// Argument is one argument of a recorded command line.
type Argument struct {
	N        int    `json:"n"`
	Argument string `json:"argument"`
	Masked   bool   `json:"masked"`
}

// Arguments are the arguments with which the run that ref names would be run
// again, masked, without quant itself. Errors: those of Resolve, Refused for a run
// that cannot be run again, Usage for what cannot be set.
func Arguments(ctx context.Context, s *session.Session, ref string, set []string) ([]Argument, error) {
	_, args, err := recordedLine(ctx, s, ref, set)
	if err != nil {
		return nil, err
	}
	list := []Argument{}
	for i, arg := range args {
		list = append(list, Argument{i + 1, strings.Join(s.Mask.Args([]string{arg}), ""), strings.Contains(arg, secret.Placeholder)})
	}
	return list, nil
}

// Again runs what the run that ref names ran: in a process of its own, a child of
// the session's run, in the recorded folder and the present lab, and links the
// repetition to its origin. The error is that of Run for the repetition's end, also
// when it is on record as report.Run; Refused when it cannot be repeated; the cause
// of ctx when that ended, which ends the process too.
func Again(ctx context.Context, s *session.Session, ref string, o AgainOptions) (report Report, err error) {
	origin, args, err := recordedLine(ctx, s, ref, o.Set)
	if err != nil {
		return report, err
	}
	if err := refuseMasked(origin, args); err != nil {
		return report, err
	}
	if s.Run == nil {
		return report, quant.Errorf(quant.Store, "nothing can be run again while runs cannot be recorded").WithHint("run quant doctor")
	}
	report.Origin = origin.RunID
	link := metastore.Batch{Tags: []quant.Tag{{Name: quant.RerunOfTag, Value: origin.RunID}}}
	if err := s.Registry.Log(ctx, s.RunID(), link); err != nil {
		return report, err
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: origin.RunID})

	dir := string(origin.Process.WorkDir)
	if o.Code {
		tree, err := checkOut(ctx, s, origin, o.Keep)
		if err != nil {
			return report, err
		}
		dir = tree.Dir
		if o.Keep {
			report.Code, report.Forget = dir, tree.Registered()
		} else {
			defer func() {
				if err := tree.Remove(); err != nil {
					s.Say().Warn("the worktree %s could not be deleted: %v", tree.Dir, err)
				}
			}()
		}
	}
	failed := start(ctx, s, origin, args, dir, o)
	repetition, err := lastChild(ctx, s, origin.Kind)
	if err != nil {
		return report, errors.Join(failed, err)
	}
	closing, stop := registry.Closing(ctx)
	defer stop()
	if err := s.Registry.Log(closing, repetition, link); err != nil {
		return report, errors.Join(failed, err)
	}
	report.Run = repetition
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	return report, failed
}

// recordedLine is the run that ref names and its recorded arguments, without the
// program's own name, with the values of set in their places.
func recordedLine(ctx context.Context, s *session.Session, ref string, set []string) (origin metastore.RunDetail, args []string, err error) {
	id, err := s.Resolve(ctx, ref)
	if err != nil {
		return origin, nil, err
	}
	origin, err = s.Meta.GetRun(ctx, id)
	if err != nil {
		return origin, nil, err
	}
	var argv []string
	if err := json.Unmarshal(origin.Process.Argv, &argv); err != nil || len(argv) < 2 {
		return origin, nil, quant.Errorf(quant.Refused, "run %s has no command line on record", quant.ShortID(origin.RunID))
	}
	if origin.Kind == "unknown" || origin.Kind == AgainKind {
		return origin, nil, quant.Errorf(quant.Refused, "a run of kind %s is not run again", origin.Kind).
			WithHint("run again the run that it was about: `quant runs show %s` names it", quant.ShortID(origin.RunID))
	}
	args = argv[1:]
	if ownProgram(ctx, s, origin) != "" && slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(arg, "ipykernel") }) {
		return origin, nil, quant.Errorf(quant.Refused, "run %s is of a notebook, whose cells are not on record", quant.ShortID(origin.RunID)).
			WithHint("run the notebook again, or make it a program: jupyter nbconvert --to script")
	}
	for _, pair := range set {
		number, value, found := strings.Cut(pair, "=")
		n, err := strconv.Atoi(number)
		if !found || err != nil || n < 1 || n > len(args) {
			return origin, nil, quant.Errorf(quant.Usage, "--set-arg wants N=VALUE with N from 1 to %d", len(args)).
				WithHint("`quant runs rerun %s --dry-run` numbers the arguments", quant.ShortID(origin.RunID))
		}
		if strings.ContainsRune(value, 0) {
			return origin, nil, quant.Errorf(quant.Usage, "--set-arg %d: the value contains a NUL byte", n)
		}
		args[n-1] = value
	}
	return origin, args, nil
}

// ownProgram is the file of the program that started the run for itself, whose command
// line is the program's; "": it is a command of quant.
func ownProgram(ctx context.Context, s *session.Session, origin metastore.RunDetail) string {
	var argv []string
	program, err := s.Meta.GetProgram(ctx, origin.RunID)
	if err != nil || json.Unmarshal(origin.Process.Argv, &argv) != nil || len(argv) == 0 || argv[0] != string(program.Path) {
		return ""
	}
	return argv[0]
}

// refuseMasked is the error of arguments that were masked when they were
// recorded and have not been given again.
func refuseMasked(origin metastore.RunDetail, args []string) error {
	for i, arg := range args {
		if !strings.Contains(arg, secret.Placeholder) {
			continue
		}
		shown := arg
		if i > 0 && arg == secret.Placeholder {
			shown = args[i-1] + " " + arg
		}
		return quant.Errorf(quant.Refused, "argument %d of run %s was masked when it was recorded: %s", i+1, quant.ShortID(origin.RunID), shown).
			WithHint("give it again: --set-arg %d=VALUE (the whole argument)", i+1)
	}
	return nil
}

// checkOut makes a worktree of the recorded code, under a name that gc leaves
// alone if it is to be kept.
func checkOut(ctx context.Context, s *session.Session, origin metastore.RunDetail, keep bool) (*git.Worktree, error) {
	p, id := origin.Process, quant.ShortID(origin.RunID)
	about, known, err := codeRecorded(ctx, s.Meta, origin.RunID)
	if err != nil {
		return nil, err
	}
	if p.GitCommit == "" && !known {
		return nil, quant.Errorf(quant.Refused, "run %s has no code on record: it ran outside a work tree", id).
			WithHint("run it again without --code")
	}
	if err := refuseMaskedCode(origin.RunID, about); err != nil {
		return nil, err
	}
	code := git.Recorded{WorkDir: string(p.WorkDir), Commit: string(p.GitCommit), Folder: about.Folder, Inside: about.Inside}
	if known {
		code.Commit = about.Commit
	}
	if !about.Exact {
		code.Mark = secret.Placeholder
	}
	artifacts, err := s.Meta.Artifacts(ctx, origin.RunID)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(artifacts, func(a quant.Artifact) bool { return a.Name == quant.CodeDiff })
	switch {
	case at >= 0:
		f, err := s.Artifacts().Open(ctx, artifacts[at].Digest)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if code.Patch, err = io.ReadAll(f); err != nil {
			return nil, quant.Errorf(quant.Store, "read %s of run %s: %w", quant.CodeDiff, id, err)
		}
	case code.Commit == "" && about.leftOut() == "":
		return nil, quant.Errorf(quant.Refused, "the files of run %s are not on record, and its work tree had no commit", id).
			WithHint("run it again without --code")
	case !known && p.GitDirty != nil && *p.GitDirty:
		s.Say().Warn("the work tree of run %s differed from its commit, and the changes are not on record: the commit alone is run", id)
	}
	if text := about.leftOut(); text != "" {
		s.Say().Warn("not on record of the code of run %s, and not run: %s", id, text)
	}
	folder, err := filepath.Abs(s.ScratchDir())
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "make the folder for the worktree: %w", err)
	}
	prefix := place.Checkout
	if keep {
		prefix = place.KeptCheckout
	}
	return git.CheckOut(ctx, code, filepath.Join(folder, prefix+s.RunID()))
}

// start runs a command line as a child of this run, in a process of its own with
// this one's terminal, and returns how it ended.
func start(ctx context.Context, s *session.Session, origin metastore.RunDetail, args []string, dir string, o AgainOptions) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return quant.Errorf(quant.NotFound, "the folder of run %s, %s, is not there any more", quant.ShortID(origin.RunID), dir).
			WithHint("--code checks it out again, where it was under git")
	}
	file, name := o.Program, "quant"
	own := ownProgram(ctx, s, origin)
	if own != "" {
		file, name = own, own
	}
	if file == "" {
		self, err := os.Executable()
		if err != nil {
			return quant.Errorf(quant.Failed, "find this program: %w", err)
		}
		file = self
	}
	flags, environ, err := presentLab(s, origin, o.Settings)
	if err != nil {
		return err
	}
	if own == "" && o.NamesLab(args) {
		// Flags are stronger than variables, and the last one counts.
		at := slices.Index(args, "--")
		if at < 0 {
			at = len(args)
		}
		args = slices.Insert(slices.Clone(args), at, flags...)
	}
	cmd := exec.Command(file, args...)
	cmd.Args[0], cmd.Dir = name, dir
	cmd.Env = slices.Concat(o.Environ, []string{"PWD=" + dir}, environ)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Streams.In, o.Streams.Out, o.Streams.Err
	if err := cmd.Start(); err != nil {
		return quant.Errorf(quant.Failed, "start %s: %w", file, err)
	}
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
		case <-ctx.Done():
			if s, ok := errors.AsType[quant.Signalled](context.Cause(ctx)); ok && !fromTerminal(o.Streams.In, s.Number) {
				_ = cmd.Process.Signal(syscall.Signal(s.Number))
			} else if !ok {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}()
	err = cmd.Wait()
	close(over)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return exitError(status)
		}
	}
	if err != nil {
		return quant.Errorf(quant.Failed, "run %s again: %w", quant.ShortID(origin.RunID), err)
	}
	return nil
}

// presentLab are the flags and variables that give a repetition the present lab
// and the recorded settings.
func presentLab(s *session.Session, origin metastore.RunDetail, settings config.Settings) (flags, environ []string, err error) {
	environ = serverVariable(s)
	for _, at := range locations(s) {
		path, err := filepath.Abs(at.path)
		if err != nil {
			return nil, nil, quant.Errorf(quant.Failed, "find %s: %w", at.path, err)
		}
		environ = append(environ, at.variable+"="+path)
		for _, setting := range settings.List() {
			if setting.Name == at.variable {
				flags = append(flags, string(setting.Flag)+"="+path)
			}
		}
	}
	var recorded struct {
		Settings map[string]string `json:"settings"`
	}
	_ = json.Unmarshal(origin.ConfigJSON, &recorded) // a run that failed early has none
	for _, setting := range settings.List() {
		value := recorded.Settings[setting.Name]
		if value != "" && !setting.Secret && setting.Flag == "" && !strings.Contains(value, secret.Placeholder) {
			environ = append(environ, setting.Name+"="+value)
		}
	}
	return flags, append(environ, config.ParentRun+"="+s.RunID()), nil
}

// fromTerminal reports whether the terminal sends this signal to every process
// that it controls, so that it need not be sent on.
func fromTerminal(in io.Reader, number int) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && slices.Contains([]syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP}, syscall.Signal(number))
}

// lastChild is the run of this kind that this run started.
func lastChild(ctx context.Context, s *session.Session, kind string) (string, error) {
	children, err := s.Meta.ListRuns(context.WithoutCancel(ctx), metastore.RunFilter{All: true, Parent: s.RunID(), Kind: kind, Brief: true, Limit: 1})
	if err == nil && len(children) == 0 {
		err = quant.Errorf(quant.Failed, "the repetition was not recorded").WithHint("what it said stands above")
	}
	if err != nil {
		return "", err
	}
	return children[0].RunID, nil
}
