package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/search"
)

// How much a completion offers, and among how many runs it looks.
const (
	offeredNames = 200
	offeredRuns  = 50
	runsLookedAt = 500
)

type completer = func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective)

// completeAll gives a command its completions, by what its usage calls its
// arguments (RUN, METRIC, KIND) and its flags: so no command does it by itself.
func completeAll(env *Env, cmd *cobra.Command) {
	if words := strings.Fields(cmd.Use); cmd.ValidArgsFunction == nil && len(words) > 1 {
		cmd.ValidArgsFunction = completeArgs(env, words[1:])
	}
	words := flagWords()
	complete := func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has {
			return
		}
		kind, _ := pflag.UnquoteUsage(f)
		if word, has := words[f.Name]; has && f.Value.Type() != "bool" {
			kind = word
		}
		if fn := completeWord(env, kind); fn != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, fn)
		}
	}
	cmd.Flags().VisitAll(complete)
	cmd.PersistentFlags().VisitAll(complete)
}

// completeWord completes what a usage calls so; nil: by files, as shells do.
func completeWord(env *Env, name string) completer {
	switch name {
	case "RUN":
		return completeRun(env)
	case "KIND":
		return completeNames(env, metastore.KindNames)
	case "METRIC":
		return completeNames(env, metastore.MetricNames)
	default:
		return completeValue(env, name)
	}
}

// completeArgs completes arguments in the order of the usage; the last one that
// may be repeated stands for all that follow.
func completeArgs(env *Env, usage []string) completer {
	var names []string
	repeated, files := -1, false
	for _, word := range usage {
		name := strings.Trim(word, "[].")
		if name != strings.ToUpper(name) || strings.HasPrefix(name, "-") {
			continue
		}
		if strings.Contains(word, "...") {
			repeated = len(names)
		}
		files = files || completeWord(env, name) == nil
		names = append(names, name)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return completeWord(env, name) != nil }) {
		return nil
	}
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		at := len(args)
		if repeated >= 0 && at >= repeated {
			at = repeated
		}
		if at >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		fn := completeWord(env, names[at])
		if fn == nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		found, directive := fn(cmd, args, word)
		if files && repeated >= 0 {
			directive &^= cobra.ShellCompDirectiveNoFileComp // a file may come after the runs
		}
		return found, directive
	}
}

// toComplete opens the Meta DB for a completion and runs fn; whatever goes
// wrong is silence, since the shell is in the middle of a line.
func (e *Env) toComplete(cmd *cobra.Command, fn func(ctx context.Context, meta metastore.Store)) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	if e.OpenToComplete == nil {
		return
	}
	if meta := e.OpenToComplete(ctx); meta != nil {
		defer func() { _ = meta.Close() }()
		fn(ctx, meta)
	}
}

func completeNames(env *Env, of metastore.NameSource) completer {
	return func(cmd *cobra.Command, _ []string, word string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
			found = append(found, namesOf(ctx, meta, of, word)...)
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOf leaves out what a shell would not survive: line feeds end a completion.
func namesOf(ctx context.Context, meta metastore.Store, of metastore.NameSource, prefix string) []string {
	names, _ := meta.Names(ctx, of, prefix, offeredNames)
	return slices.DeleteFunc(names, func(s string) bool { return strings.ContainsFunc(s, unprintable) })
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// completeRun completes a reference of a run: the short ids of the newest runs,
// last, last:KIND and @NAME.
func completeRun(env *Env) completer {
	return func(cmd *cobra.Command, args []string, word string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
			if name, named := strings.CutPrefix(word, registry.Named); named {
				for _, n := range namesOf(ctx, meta, metastore.RunNames, name) {
					found = append(found, registry.Named+n)
				}
				return
			}
			if kind, ofKind := strings.CutPrefix(word, registry.LastKind); ofKind || word != "" && strings.HasPrefix(registry.Last, word) {
				if !ofKind {
					kind = ""
					found = append(found, cobra.CompletionWithDesc(registry.Last, "the newest run"))
				}
				for _, k := range namesOf(ctx, meta, metastore.KindNames, kind) {
					found = append(found, cobra.CompletionWithDesc(registry.LastKind+k, "the newest "+k))
				}
				return
			}
			if word == "" {
				found = append(found, cobra.CompletionWithDesc(registry.Last, "the newest run"))
			}
			runs, _ := meta.ListRuns(ctx, metastore.RunFilter{Brief: true, Limit: runsLookedAt})
			offered := 0
			for _, r := range runs {
				id := quant.ShortID(r.RunID)
				switch {
				case strings.HasPrefix(id, word):
				case len(word) > 8 && strings.HasPrefix(r.RunID, word):
					id = r.RunID
				default:
					continue
				}
				if offered++; offered > offeredRuns {
					break
				}
				found = append(found, cobra.CompletionWithDesc(id, fmt.Sprintf("%s %s %s ago", r.Kind, r.Status, age(env.Now().Sub(r.StartedAt.Time)))))
			}
		})
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// completeQuery completes the last word of a query.
func completeQuery(env *Env) completer {
	return func(cmd *cobra.Command, args []string, text string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeField(env, cmd, text), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func completeColumns(env *Env) completer {
	return func(cmd *cobra.Command, _ []string, text string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return completeField(env, cmd, text), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeField completes the last word of a query or a list of columns.
func completeField(env *Env, cmd *cobra.Command, text string) (found []cobra.Completion) {
	// Without a lab there are still the attributes.
	found = search.Complete(text, func(metastore.NameSource, string) []string { return nil })
	env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
		found = search.Complete(text, func(of metastore.NameSource, prefix string) []string { return namesOf(ctx, meta, of, prefix) })
	})
	return found
}
