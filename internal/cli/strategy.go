package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/strategy"
)

func strategyCommand(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "strategy",
		Short: "Look at strategy files: check one, show what it means, print the format",
	}
	return Command{Command: cmd, Sub: []Command{strategyValidate(env), strategyShow(env), strategySchema(env)}}
}

// setFlag adds --set to a command.
func setFlag(cmd *cobra.Command, sets *[]string) {
	cmd.Flags().StringArrayVar(sets, "set", nil, "a key of the file with another value, such as portfolio.top_k=5; KEY= without one takes the key out (may be given again)")
}

// strategyChecks is the result of validate.
type strategyChecks []pipeline.StrategyCheck

func (c strategyChecks) Sections() []output.Section {
	var lines []string
	for _, one := range c {
		if one.Valid {
			lines = append(lines, fmt.Sprintf("%s: valid, %s version %s, %s", one.File, one.StrategyID, one.Version, short(string(one.Digest))))
		} else {
			lines = append(lines, fmt.Sprintf("%s: %s", one.File, quant.Count(len(one.Problems), "problem")))
		}
		for _, p := range one.Problems {
			line := "  " + p.Where + ": " + p.Message
			if p.Hint != "" {
				line += " (" + p.Hint + ")"
			}
			lines = append(lines, line)
		}
		for _, n := range one.Notices {
			lines = append(lines, "  note: "+n)
		}
	}
	return []output.Section{{Lines: lines}}
}

func strategyValidate(env *Env) Command {
	var sets []string
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check strategy files",
		Long: `Check strategy files: every mistake is shown with its line, its column and the
nearest right name, and what can be invested at most where that is less than the
gross exposure cap. Nothing is computed. The Fact DB is asked only about a feature
version of your own. The exit status is 2 if a file is not valid.`,
		Example: "  quant strategy validate strategies/momentum_demo.yaml",
		Args:    wantArgs(1, -1, "at least one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var checks strategyChecks
			var failed error
			bad := 0
			for _, path := range args {
				data, err := pipeline.ReadStrategyFile(path)
				if err != nil {
					return err
				}
				check, invalid := pipeline.CheckStrategy(cmd.Context(), env.Session, env.Mask.Text(path), data, sets)
				if invalid != nil {
					bad++
					failed = invalid
				}
				for i := range check.Problems {
					p := &check.Problems[i]
					p.Message, p.Hint, p.Key, p.Where = env.Mask.Text(p.Message), env.Mask.Text(p.Hint), env.Mask.Text(p.Key), env.Mask.Text(p.Where)
				}
				checks = append(checks, check)
			}
			if err := env.Print(checks); err != nil {
				return err
			}
			if bad > 1 {
				return quant.Errorf(quant.Invalid, "%d of %d strategies are not valid", bad, len(args)).WithHint("`quant strategy schema` prints the format")
			}
			return failed
		},
	}
	setFlag(cmd, &sets)
	return Command{Command: cmd}
}

// strategyShown is the result of show.
type strategyShown struct {
	File           string            `json:"file"`
	Digest         string            `json:"digest"`
	DecisionDigest string            `json:"decision_digest"`
	Strategy       strategy.Strategy `json:"strategy"`
	Notices        []string          `json:"notices"`
}

func (s strategyShown) CSVRows() any { return s.Strategy.Settings() }

func (s strategyShown) Sections() []output.Section {
	lines := []string{"digest " + s.Digest, "of its decisions " + s.DecisionDigest}
	for _, n := range s.Notices {
		lines = append(lines, "note: "+n)
	}
	return []output.Section{{Rows: s.Strategy.Settings()}, {Lines: lines}}
}

func strategyShow(env *Env) Command {
	var sets []string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a strategy file means, with every default and the symbols of its universe",
		Example: `  quant strategy show strategies/momentum_demo.yaml
  quant strategy show strategies/momentum_demo.yaml --set portfolio.top_k=2`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := pipeline.OpenStrategy(cmd.Context(), env.Session, args[0], sets)
			if err != nil {
				return err
			}
			return env.Print(strategyShown{env.Mask.Text(args[0]), s.Digest(), s.DecisionDigest(), s, append([]string{}, s.Notices()...)})
		},
	}
	setFlag(cmd, &sets)
	return Command{Command: cmd}
}

// strategyFormat is the result of schema: a JSON Schema in every form but CSV.
type strategyFormat struct{}

func (strategyFormat) MarshalJSON() ([]byte, error) { return json.RawMessage(strategy.Schema()), nil }

func (strategyFormat) CSVRows() any { return strategy.Keys() }

func (strategyFormat) Sections() []output.Section {
	return []output.Section{{Lines: strings.Split(strings.TrimSuffix(string(strategy.Schema()), "\n"), "\n")}}
}

func strategySchema(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the format of strategy files as a JSON Schema, for editors",
		Long: `Print the format of strategy files as a JSON Schema (2020-12). Save it, and begin
a strategy with the line

  # yaml-language-server: $schema=strategy.schema.json

so that an editor completes and checks the keys. --output csv lists the keys with
their types, defaults and meanings.`,
		Example: "  quant strategy schema > strategy.schema.json",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return env.Print(strategyFormat{}) },
	}
	return Command{Command: cmd}
}
