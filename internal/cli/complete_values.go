package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/feature"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/strategy"
)

// flagWords says what a flag's value is, where its usage does not call it so: the
// words are those of completeWord.
func flagWords() map[string]string {
	return map[string]string{
		"run": "RUN", "kind": "KIND", "status": "STATUS", "output": "FORMAT", "state": "STATE", "log-level": "LEVEL", "memory-limit": "MEMORY",
		"experiment": "EXPERIMENT", "model": "MODEL", "symbol": "SYMBOL", "symbols": "SYMBOLS", "benchmark": "SYMBOL",
		"feature": "FEATURE", "features": "FEATURES", "feature-version": "VERSION", "label": "LABEL", "set": "KEY=VALUE",
	}
}

// completeValue completes values of which there are few, or that the lab lists; nil:
// name is none of them.
func completeValue(env *Env, name string) completer {
	switch name {
	case "JOB":
		return completeJob(env)
	case "STATE":
		return completeList(func(*cobra.Command) []string { return stateWords() })
	case "STATUS":
		return completeOf(string(quant.Running), string(quant.Success), string(quant.Fail))
	case "FORMAT":
		return completeOf(string(output.Table), string(output.JSON), string(output.CSV))
	case "LEVEL":
		return completeOf("debug", "info", "warn", "error")
	case "MEMORY":
		return completeOf(config.Auto, "1GiB", "2GiB", "4GiB", "8GiB")
	case "VERSION":
		return completeFrom(func(cmd *cobra.Command) []string { return versionNames(env, cmd) })
	case "FEATURE":
		return completeFrom(func(cmd *cobra.Command) []string { return append(featureNames(), ownFeatures(env, cmd)...) })
	case "FEATURES":
		return completeList(func(cmd *cobra.Command) []string {
			return slices.Concat(featureNames(), versionNames(env, cmd), ownFeatures(env, cmd))
		})
	case "KEY=VALUE":
		return func(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return beginning(settingKeys(), word), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
	case "LABEL":
		return completeFrom(labelNames)
	case "SYMBOL":
		return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			left := slices.DeleteFunc(symbolsOf(env, cmd), func(s string) bool { return slices.Contains(args, s) })
			return beginning(left, word), cobra.ShellCompDirectiveNoFileComp
		}
	case "SYMBOLS":
		return completeList(func(cmd *cobra.Command) []string { return symbolsOf(env, cmd) })
	case "EXPERIMENT":
		return completeFrom(func(cmd *cobra.Command) (names []string) {
			env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
				list, _ := meta.ListExperiments(ctx, metastore.ExperimentFilter{})
				for _, e := range list {
					names = append(names, e.ExperimentID)
				}
			})
			return names
		})
	case "MODEL":
		return completeFrom(func(cmd *cobra.Command) (names []string) {
			env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
				list, _ := meta.ListModels(ctx, metastore.ModelFilter{})
				for _, m := range list {
					names = append(names, m.ModelID)
				}
			})
			return names
		})
	}
	return nil
}

// completeJob completes the number of a job: the newest first, with what they are.
func completeJob(env *Env) completer {
	return func(cmd *cobra.Command, args []string, word string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		if env.JobsToComplete == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		for _, j := range env.JobsToComplete(ctx) {
			id := strconv.FormatInt(j.ID, 10)
			if strings.HasPrefix(id, word) && !slices.Contains(args, id) && len(found) < offeredNames {
				found = append(found, cobra.CompletionWithDesc(id, string(j.State)+" "+j.Command))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// beginning are those of the names that begin with word, as many as are offered.
// What a shell would not survive is left out.
func beginning(names []string, word string) []cobra.Completion {
	found := slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, word) || strings.ContainsFunc(s, unprintable) })
	return found[:min(len(found), offeredNames)]
}

func completeOf(values ...string) completer {
	return completeFrom(func(*cobra.Command) []string { return slices.Clone(values) })
}

// completeFrom asks for the values only where a shell wants them.
func completeFrom(values func(cmd *cobra.Command) []string) completer {
	return func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return beginning(values(cmd), word), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeList completes the last of several values that commas separate, and offers
// none twice.
func completeList(values func(cmd *cobra.Command) []string) completer {
	return func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		head := word[:strings.LastIndexByte(word, ',')+1]
		taken := strings.Split(head, ",")
		left := slices.DeleteFunc(values(cmd), func(s string) bool { return slices.Contains(taken, s) })
		found := beginning(left, word[len(head):])
		for i := range found {
			found[i] = head + found[i]
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// ownToComplete are the features of the lab's own versions.
func ownToComplete(env *Env, cmd *cobra.Command) []feature.Entry {
	if env.OwnFeaturesToComplete == nil {
		return nil
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	return env.OwnFeaturesToComplete(ctx)
}

// versionNames are the versions of features, those that are built in first.
func versionNames(env *Env, cmd *cobra.Command) []string {
	names := feature.Versions()
	for _, e := range ownToComplete(env, cmd) {
		if !slices.Contains(names, e.Versions[0]) {
			names = append(names, e.Versions[0])
		}
	}
	return names
}

// ownFeatures are the features of the lab's own versions, as NAME@VERSION.
func ownFeatures(env *Env, cmd *cobra.Command) (names []string) {
	for _, e := range ownToComplete(env, cmd) {
		names = append(names, e.Name+"@"+e.Versions[0])
	}
	return names
}

// settingKeys are the keys of a strategy file, each with an =. What may follow is left to
// the user: bash takes the = for the beginning of another word.
func settingKeys() (list []string) {
	for _, k := range strategy.Keys() {
		list = append(list, k.Key+"=")
	}
	return list
}

func featureNames() (names []string) {
	entries, _ := feature.Catalogue("")
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// labelNames are the labels of usual horizons.
func labelNames(*cobra.Command) (names []string) {
	for _, h := range []int{1, 5, 10, 20, 60} {
		forward, direction := feature.LabelNames(h)
		names = append(names, forward, direction)
	}
	return names
}

func symbolsOf(env *Env, cmd *cobra.Command) (names []string) {
	env.toComplete(cmd, func(ctx context.Context, meta metastore.Store) {
		list, _ := meta.ListSymbols(ctx, metastore.SymbolFilter{})
		for _, s := range list {
			names = append(names, s.Symbol)
		}
	})
	return names
}
