package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/lab/archive"
	"quant/internal/lab/place"
	"quant/internal/output"
)

// labCommand is what is done with a lab as a whole.
func labCommand(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Move a lab between files and a team's stores",
		Long: `Move a lab between files and a team's stores: the Meta DB between a file and a
PostgreSQL database, the facts between a file and DuckLake.`,
	}
	return Command{Command: cmd, Sub: []Command{labMove(env)}}
}

// labPlaces say where the parts of a lab lie, without secrets.
type labPlaces struct {
	Meta    string `json:"meta"`
	Facts   string `json:"facts"`
	DataDir string `json:"data_dir"`
}

func placesOf(env *Env, at place.Place) labPlaces {
	return labPlaces{env.Mask.Text(at.ShownMeta()), env.Mask.Text(at.ShownFacts()), env.Mask.Text(at.DataDir)}
}

// movedTable is one table of one of the databases.
type movedTable struct {
	Part   string     `json:"part"` // meta or facts
	Table  string     `json:"table"`
	Rows   int64      `json:"rows"`
	Digest quant.Text `json:"digest"`
}

// moveReport says what was taken over, or would be.
type moveReport struct {
	RunID   string          `json:"run_id"`
	Moved   bool            `json:"moved"` // false: a dry run
	From    labPlaces       `json:"from"`
	To      labPlaces       `json:"to"` // empty in a dry run
	Tables  []movedTable    `json:"tables"`
	Files   []archive.Files `json:"files"`
	Missing []string        `json:"missing_artifacts"`
	Since   int64           `json:"runs_since"`
}

func newMoveReport(m archive.Moved) moveReport {
	r := moveReport{Tables: []movedTable{}, Files: m.Files, Missing: m.Missing, Since: m.Since}
	for _, t := range m.Meta {
		r.Tables = append(r.Tables, movedTable{"meta", t.Table, t.Rows, quant.Text(t.Digest)})
	}
	for _, t := range m.Facts {
		r.Tables = append(r.Tables, movedTable{"facts", t.Table, t.Rows, quant.Text(t.Digest)})
	}
	if r.Files == nil {
		r.Files = []archive.Files{}
	}
	if r.Missing == nil {
		r.Missing = []string{}
	}
	return r
}

func (r moveReport) CSVRows() any { return r.Tables }

func (r moveReport) Sections() []output.Section {
	var filled []movedTable
	rows := int64(0)
	for _, t := range r.Tables {
		if rows += t.Rows; t.Rows > 0 {
			filled = append(filled, t)
		}
	}
	did, proved := "would move", "a dry run: nothing was moved"
	if r.Moved {
		did, proved = "moved", "what was stored was read again: its numbers of rows and digests are those of the source"
	}
	lines := []string{
		fmt.Sprintf("%s %s and %s", did, quant.Count(int(rows), "row"), filesOf(r.Files)),
		"from  " + strings.Join([]string{r.From.Meta, r.From.Facts, r.From.DataDir}, "  "),
	}
	if r.Moved {
		lines = append(lines, "to    "+strings.Join([]string{r.To.Meta, r.To.Facts, r.To.DataDir}, "  "))
	}
	sections := []output.Section{{Rows: filled}}
	if len(r.Files) > 0 {
		sections = append(sections, output.Section{Title: "files", Rows: r.Files})
	}
	return append(sections, output.Section{Lines: append(lines, proved)})
}

func filesOf(list []archive.Files) string {
	files, bytes := int64(0), int64(0)
	for _, f := range list {
		files, bytes = files+f.Files, bytes+f.Bytes
	}
	return fmt.Sprintf("%s of %s", quant.Count(int(files), "file"), quant.Bytes(bytes))
}

// The flags that say where a lab is to go.
const (
	toDataDir  = "to-data-dir"
	toMetaURL  = "to-meta-url"
	toFactsURL = "to-facts-url"
	toObjects  = "to-objects-url"
)

func labMove(env *Env) Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "move --to-meta-url URL --to-facts-url URL | --to-data-dir DIR",
		Short: "Take a whole lab over into other stores, and leave it as it is",
		Long: `Take the lab that the settings name over into other stores, from files to a
team's or back, and leave it as it is. With --to-data-dir, what no URL is given for
goes into that folder; without it, what is not named stays where it is.

Nothing may run in the lab meanwhile (it is waited for as --wait says), and the
target is empty, or is what a move of the same lab began. It is prepared by the
move. Taken over is everything: runs with all that is recorded of them, symbols,
experiments, models, tokens, every table of facts with its ledger and earlier states,
and what stands beside the databases that a backup would hold. Not taken over are
jobs that wait, schedules, and which role of a server started a run.

What was stored is read again, and its numbers of rows and digests are compared
with the source's, before it is committed. A move that was killed is gone on with
by the same command. --dry-run counts. The move is recorded in the target.

Exit status: 0 done; 3 contents of artifacts were missing in the source.`,
		Example: `  quant lab move --to-meta-url postgres://ann@db/team \
    --to-facts-url 'ducklake:postgres:dbname=lake host=db?data_path=/srv/lake'
  quant lab move --to-data-dir back
  quant lab move --to-data-dir copy --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if !cmd.Flags().Changed(toDataDir) && !cmd.Flags().Changed(toMetaURL) && !cmd.Flags().Changed(toFactsURL) {
				return quant.Errorf(quant.Usage, "it is not said where the lab shall go").WithHint("give --to-meta-url and --to-facts-url, or --to-data-dir")
			}
			if dryRun {
				return surveyed(ctx, env)
			}
			from := env.Named.Place()
			done, err := archive.Move(ctx, env.Facts(), from)
			env.Record(done.IO...)
			if err != nil {
				return err
			}
			if done.Since > 0 {
				env.Warn("%s came into the lab while it was moved, and are not taken over", quant.Count(int(done.Since), "run"))
			}
			report := newMoveReport(done)
			report.RunID, report.Moved, report.From, report.To = env.RunID(), true, placesOf(env, from), placesOf(env, env.Place)
			if err := env.Print(report); err != nil {
				return err
			}
			return done.Incomplete()
		},
	}
	f := cmd.Flags()
	f.String(toMetaURL, "", "PostgreSQL database for the Meta DB, such as postgres://USER@HOST/DATABASE")
	f.String(toFactsURL, "", "DuckLake for the facts, such as 'ducklake:postgres:dbname=NAME host=HOST?data_path=FOLDER'")
	f.String(toObjects, "", "bucket or folder for the artifacts, such as s3://BUCKET/PREFIX, with a Meta DB on a server")
	f.String(toDataDir, "", "data folder for what has no URL, and for the files")
	f.BoolVar(&dryRun, "dry-run", false, "count what would be moved, and move nothing")
	moves := func(l Line) bool { return l.Flags["dry-run"] != "true" }
	return Command{Command: cmd, Traits: Traits{
		Changes: moves, Prepares: moves,
		Places: func(l Line) map[string]string {
			if env.Mask != nil {
				env.Mask.Know(append(place.Passwords(l.Flags[toMetaURL]), place.LakePasswords(l.Flags[toFactsURL])...)...)
			}
			if !moves(l) {
				return nil
			}
			return movesTo(l.Flags)
		},
	}}
}

// movesTo are the location flags of the lab to which these flags move another; "" takes one
// away that would contradict.
func movesTo(flags map[string]string) map[string]string {
	implied := map[string]string{}
	if dir := flags[toDataDir]; dir != "" {
		at := place.In(dir)
		implied["data-dir"], implied["sqlite"], implied["duckdb"] = dir, at.MetaPath, at.FactPath
		implied["meta-url"], implied["facts-url"], implied["objects-url"] = "", "", ""
	}
	if url := flags[toMetaURL]; url != "" {
		implied["meta-url"], implied["sqlite"] = url, ""
	}
	if url := flags[toFactsURL]; url != "" {
		implied["facts-url"], implied["duckdb"] = url, ""
	}
	if url := flags[toObjects]; url != "" {
		implied["objects-url"] = url
	}
	return implied
}

func surveyed(ctx context.Context, env *Env) error {
	found, err := archive.Survey(ctx, env.Facts())
	if err != nil {
		return err
	}
	report := newMoveReport(found)
	report.RunID, report.From = env.RunID(), placesOf(env, env.Place)
	return env.Print(report)
}
