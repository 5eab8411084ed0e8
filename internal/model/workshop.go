package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/parquet"
)

// ProtocolVersion is that of what a program is handed and has to hand back
// (docs/models.md).
const ProtocolVersion = 1

// The columns that a program is handed beside symbol, ts and the features. The last
// three are those of what it learns from, and of nothing else.
const (
	columnLabel    = "label"
	columnLabelEnd = "t1"
	columnWeight   = "weight"
)

// Stage says what a program is called for.
type Stage string

// The stages.
const (
	StageTrain Stage = "train" // learn from the fit rows, keep the model, predict
	StageFit   Stage = "fit"   // learn and keep the model
	StageScore Stage = "score" // predict with the model that was kept
)

// Workshop is where a program works, and how it is called. It is for one goroutine.
type Workshop struct {
	Folder   string // absolute, of this run alone; it and all in it is the caller's to delete
	ModelDir string // where what programs keep is kept
	// Call runs the program with these variables to its end.
	Call func(ctx context.Context, variables []string) error
	// Wrote is told of the files that a call left beside its predictions, by name
	// (metrics.json, importances.csv, importances.parquet), and of which fold; nil: nobody is.
	Wrote func(task, name, path string) error

	calls int
}

// handed is what one call is about.
type handed struct {
	stage   Stage
	task    string
	fit     []parquet.Series // of StageTrain and StageFit
	predict []parquet.Series // of StageTrain and StageScore
	kept    []KeptFile       // of StageScore: what an earlier call kept
	keeps   bool             // what it writes beside predictions is kept and told of
}

// protocol is what protocol.json says.
type protocol struct {
	Version  int               `json:"protocol"`
	Stage    Stage             `json:"stage"`
	Fold     string            `json:"fold"`
	Algo     Algo              `json:"algo"`
	Label    Label             `json:"label"`
	Kind     string            `json:"label_kind"` // return or direction
	Horizon  int               `json:"horizon"`    // sessions from ts to t1
	Features []string          `json:"features"`   // the columns with them
	Params   map[string]string `json:"params"`
	Seed     int64             `json:"seed"`
	Format   parquet.Format    `json:"format"`
	// The files, absolute; "" where there is none at this stage.
	Fit         string `json:"fit"`
	Predict     string `json:"predict"`
	Predictions string `json:"predictions"`
	Model       string `json:"model"`
	Metrics     string `json:"metrics"`
	Importances string `json:"importances"`
}

// called is what a call left.
type called struct {
	folder      string
	predictions string // its path; "" at StageFit
	kept        []KeptFile
}

// call hands out, calls the program, and takes what it kept. The caller removes the
// folder. Failed: the program ended otherwise than well. Refused: it kept something
// that is no file.
func (w *Workshop) call(ctx context.Context, spec Spec, features []Feature, h handed) (c called, err error) {
	w.calls++
	c.folder = filepath.Join(w.Folder, fmt.Sprintf("%03d-%s-%s", w.calls, h.stage, strings.ReplaceAll(h.task, ":", "-")))
	model := filepath.Join(c.folder, "model")
	if err := os.MkdirAll(model, 0o700); err != nil {
		return c, quant.Errorf(quant.Failed, "make the folder that the program works in: %w", err).WithHint("make room, or make the data folder writable")
	}
	format := spec.Program.Format
	p := protocol{
		Version: ProtocolVersion, Stage: h.stage, Fold: h.task, Algo: spec.Algo, Label: spec.Label, Kind: "return", Horizon: spec.Label.Horizon,
		Features: Columns(features), Params: spec.Program.Params, Seed: spec.Seed, Format: format,
		Model: model, Metrics: filepath.Join(c.folder, MetricsFile), Importances: filepath.Join(c.folder, importancesFile+string(format)),
	}
	if p.Params == nil {
		p.Params = map[string]string{}
	}
	if spec.Label.Direction {
		p.Kind = "direction"
	}
	if h.fit != nil {
		p.Fit = filepath.Join(c.folder, "fit."+string(format))
		if err := parquet.WriteSeries(ctx, p.Fit, format, h.fit); err != nil {
			return c, err
		}
	}
	if h.predict != nil {
		p.Predict, p.Predictions = filepath.Join(c.folder, "predict."+string(format)), filepath.Join(c.folder, "predictions."+string(format))
		if err := parquet.WriteSeries(ctx, p.Predict, format, h.predict); err != nil {
			return c, err
		}
		c.predictions = p.Predictions
	}
	if err := w.putBack(model, h.kept); err != nil {
		return c, err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return c, quant.Errorf(quant.Failed, "write the protocol: %w", err)
	}
	path := filepath.Join(c.folder, "protocol.json")
	if err := durable.Create(path, 0o600, durable.Bytes(append(text, '\n'))); err != nil {
		return c, quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("make room on its disk")
	}
	variables := []string{"QUANT_PROTOCOL=" + path, "QUANT_STAGE=" + string(h.stage), "QUANT_FOLD=" + h.task, "QUANT_MODEL=" + model,
		"QUANT_SEED=" + strconv.FormatInt(spec.Seed, 10), "QUANT_METRICS=" + p.Metrics, "QUANT_IMPORTANCES=" + p.Importances}
	for _, file := range [][2]string{{"QUANT_FIT", p.Fit}, {"QUANT_PREDICT", p.Predict}, {"QUANT_PREDICTIONS", p.Predictions}} {
		if file[1] != "" {
			variables = append(variables, file[0]+"="+file[1])
		}
	}
	if err := w.Call(ctx, variables); err != nil {
		return c, err
	}
	if h.keeps {
		if c.kept, err = w.keep(ctx, model, h.task); err != nil {
			return c, err
		}
	}
	if h.keeps && w.Wrote != nil {
		for _, name := range []string{MetricsFile, importancesFile + "csv", importancesFile + "parquet"} {
			path := filepath.Join(c.folder, name)
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := w.Wrote(h.task, name, path); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// MetricsFile is the file of the metrics that a program may write.
const MetricsFile = "metrics.json"

const (
	importancesFile = "importances." // and the format
)

// The bounds of what a program keeps of a fold.
const (
	maxKeptFiles = 1000
	maxKeptBytes = 8 << 30
)

// ContentName is the name, in the folder of models, of the content with this digest
// that a program keeps. Store: it is no digest.
func ContentName(digest string) (string, error) {
	name, ok := durable.DigestHex(digest)
	if !ok {
		return "", quant.Errorf(quant.Store, "%q is no digest of a model's file", digest).WithHint("train the model again")
	}
	return name + ".bin", nil
}

// keep takes the files of a folder that a program wrote, in the order of their paths.
func (w *Workshop) keep(ctx context.Context, folder, task string) (list []KeptFile, err error) {
	total := int64(0)
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		shown := "model/" + quant.Clip(strings.ToValidUTF8(name, "\uFFFD"), 200)
		switch {
		case !entry.Type().IsRegular():
			return quant.Errorf(quant.Refused, "%s of %s is no regular file", shown, task).WithHint("write files and folders alone into QUANT_MODEL, no links")
		case !isKeptPath(name) || name != strings.ToValidUTF8(name, "\uFFFD"):
			return quant.Errorf(quant.Refused, "the name of %s of %s cannot be kept", shown, task).WithHint("use letters and digits")
		case len(list) == maxKeptFiles:
			return quant.Errorf(quant.Refused, "the program keeps more than %d files of %s", maxKeptFiles, task)
		}
		kept, err := w.keepFile(ctx, path, name, maxKeptBytes-total)
		if err != nil {
			return err
		}
		total += kept.Bytes
		list = append(list, kept)
		return nil
	})
	if _, ours := errors.AsType[*quant.Error](err); err != nil && !ours && ctx.Err() == nil {
		err = quant.Errorf(quant.Failed, "keep what the program learned of %s: %w", task, err)
	}
	return list, err
}

func (w *Workshop) keepFile(ctx context.Context, path, name string, room int64) (KeptFile, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return KeptFile{}, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	sum := durable.NewSum()
	if err := durable.MakeFolder(w.ModelDir); err != nil {
		return KeptFile{}, quant.Errorf(quant.Store, "make %s: %w", w.ModelDir, err)
	}
	out, err := durable.Begin(filepath.Join(w.ModelDir, "content"), 0o600)
	if err != nil {
		return KeptFile{}, quant.Errorf(quant.Store, "write to %s: %w", w.ModelDir, err).WithHint("make the folder writable, and make room")
	}
	defer out.Discard()
	n, err := io.Copy(io.MultiWriter(sum, out), io.LimitReader(f, room+1))
	switch {
	case ctx.Err() != nil:
		return KeptFile{}, context.Cause(ctx)
	case err != nil:
		return KeptFile{}, quant.Errorf(quant.Store, "keep model/%s: %w", name, err).WithHint("make room on the disk of the lab")
	case n > room:
		return KeptFile{}, quant.Errorf(quant.Refused, "the program keeps more than %d GiB of one fold", maxKeptBytes>>30)
	}
	kept := KeptFile{Path: name, Digest: sum.Digest(), Bytes: n}
	content, err := ContentName(kept.Digest)
	if err != nil {
		return kept, err
	}
	to := filepath.Join(w.ModelDir, content)
	if digest, _, err := durable.DigestFile(to); err == nil && digest == kept.Digest {
		return kept, nil
	}
	if err := out.SetPath(to); err != nil {
		return kept, quant.Errorf(quant.Store, "keep model/%s: %w", name, err)
	}
	if err := out.Replace(); err != nil {
		return kept, quant.Errorf(quant.Store, "keep model/%s: %w", name, err).WithHint("make room on the disk of the lab")
	}
	return kept, nil
}

// putBack writes copies of kept files where a program finds them. Store: one is gone.
// Refused: one was changed.
func (w *Workshop) putBack(folder string, list []KeptFile) error {
	for _, k := range list {
		name, err := ContentName(k.Digest)
		if err != nil {
			return err
		}
		from := filepath.Join(w.ModelDir, name)
		content, err := os.Open(from)
		if err != nil {
			return quant.Errorf(quant.Store, "%s of the model is missing: %w", k.Path, err).WithHint("train the model again")
		}
		to := filepath.Join(folder, filepath.FromSlash(k.Path))
		err = os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = durable.Create(to, 0o600, durable.From(content))
		}
		content.Close()
		if err != nil {
			return quant.Errorf(quant.Failed, "copy %s of the model: %w", k.Path, err).WithHint("make room on the disk of the lab")
		}
		if digest, _, err := durable.DigestFile(to); err != nil || digest != k.Digest {
			return quant.Errorf(quant.Refused, "%s, which the model needs, was changed since it was kept", from).WithHint("train the model again")
		}
	}
	return nil
}

// rows are (symbol, day), in the order of (day, symbol's name), with their values of
// features: what a program is handed, and by what its answer is checked.
type rows struct {
	names  []string
	symbol []int32
	day    []quant.Date
	x      [][]float64 // by feature
}

func (r rows) series(features []Feature) []parquet.Series {
	list := []parquet.Series{
		{Name: parquet.ColumnSymbol, Texts: r.names, Numbers: notNil(r.symbol)},
		{Name: parquet.ColumnDay, Days: notNil(r.day)},
	}
	for j, name := range Columns(features) {
		list = append(list, parquet.Series{Name: name, Floats: notNil(r.x[j])})
	}
	return list
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// until are the rows up to a day.
func (r rows) until(day quant.Date) rows {
	n, _ := slices.BinarySearchFunc(r.day, day+1, func(a, b quant.Date) int { return int(a) - int(b) })
	cut := rows{names: r.names, symbol: r.symbol[:n], day: r.day[:n], x: make([][]float64, len(r.x))}
	for j := range r.x {
		cut.x[j] = r.x[j][:n]
	}
	return cut
}

// changedAfter are the rows with the features of those after a day in another order:
// each row has the values of one that stands as far from the end as it does from the
// beginning.
func (r rows) changedAfter(day quant.Date) rows {
	changed := rows{names: r.names, symbol: r.symbol, day: r.day, x: make([][]float64, len(r.x))}
	from := len(r.until(day).day)
	for j := range r.x {
		changed.x[j] = slices.Clone(r.x[j])
		slices.Reverse(changed.x[j][from:])
	}
	return changed
}

// inside tells what a row that was not asked for is, for who wrote it.
type inside func(symbol int32, day quant.Date) string

// scores reads what a program predicted of rows: one finite number for each, in the
// order of rows. Refused: a row is missing, stands twice, was not asked for, or has no
// finite score; the error names the symbol, the day and the row of the file.
func (w *Workshop) scores(ctx context.Context, spec Spec, c called, task string, asked rows, what inside) ([]float64, error) {
	file := filepath.Base(c.predictions)
	var names factstore.Names
	for _, name := range asked.names {
		names.Number(name)
	}
	known := len(names.List)
	type key struct {
		symbol int32
		day    quant.Date
	}
	at := make(map[key]int, len(asked.day))
	for i, day := range asked.day {
		at[key{asked.symbol[i], day}] = i
	}
	out, from := make([]float64, len(asked.day)), make([]int, len(asked.day))
	row := 0
	refused := func(format string, args ...any) error {
		return quant.Errorf(quant.Refused, "row %d of %s (%s): %s", row, file, task, fmt.Sprintf(format, args...)).
			WithHint("write one row with a finite score for each row of QUANT_PREDICT, and no other")
	}
	err := parquet.ReadScores(ctx, c.predictions, spec.Program.Format, len(asked.day)+1, func(r parquet.Scored) error {
		row++
		if !r.Symbol.Valid {
			return refused("it has no symbol")
		}
		symbol := quant.Clip(r.Symbol.String, 64)
		if !r.Day.Valid {
			return refused("the ts of %s is no date", symbol)
		}
		day := quant.NewDate(r.Day.Time.UTC())
		if !r.Day.Time.UTC().Truncate(24 * 3600e9).Equal(r.Day.Time.UTC()) {
			return refused("the ts of %s on %s is a time of the day, and not a day", symbol, day)
		}
		if r.Task.Valid && r.Task.String != task && r.Task.String != "" {
			return refused("%s on %s is of the fold %q, and this is %s", symbol, day, quant.Clip(r.Task.String, 32), task)
		}
		number := names.Number(r.Symbol.String)
		if int(number) >= known {
			return refused("%s on %s: no such symbol was handed out", symbol, day)
		}
		i, asks := at[key{number, day}]
		if !asks {
			return refused("%s on %s %s", symbol, day, what(number, day))
		}
		if from[i] > 0 {
			return refused("%s on %s stands in row %d already", symbol, day, from[i])
		}
		if !r.Score.Valid || math.IsNaN(r.Score.Float64) || math.IsInf(r.Score.Float64, 0) {
			return refused("the score of %s on %s is no finite number", symbol, day)
		}
		if spec.Label.Direction && (r.Score.Float64 < 0 || r.Score.Float64 > 1) {
			return refused("the score of %s on %s is %v, and the probability of a direction is between 0 and 1", symbol, day, r.Score.Float64)
		}
		from[i], out[i] = row, r.Score.Float64
		return nil
	})
	if errors.Is(err, quant.NotFound) {
		return nil, quant.Errorf(quant.Refused, "the program wrote no %s (%s)", file, task).WithHint("write it to the path that QUANT_PREDICTIONS names")
	}
	if err != nil {
		return nil, err
	}
	missing, first := 0, -1
	for i, row := range from {
		if row == 0 {
			if missing++; first < 0 {
				first = i
			}
		}
	}
	if missing > 0 {
		return nil, quant.Errorf(quant.Refused, "%s (%s) lacks %s of %d: the first is %s on %s", file, task, quant.Count(missing, "row"), len(from), asked.names[asked.symbol[first]], asked.day[first]).
			WithHint("write one row with a finite score for each row of QUANT_PREDICT, and no other")
	}
	return out, nil
}

// metricsRead bounds what is read of the metrics that a program wrote.
const metricsRead = 1 << 20

// ReadMetrics reads the numbers that a program wrote into metrics.json: those of the
// object itself. Refused: it is no JSON object, or too large.
func ReadMetrics(path string) (map[string]float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read %s: %w", MetricsFile, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, metricsRead+1))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read %s: %w", MetricsFile, err)
	}
	var members map[string]any
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&members); err != nil || len(text) > metricsRead {
		return nil, quant.Errorf(quant.Refused, "%s is no JSON object of up to 1 MiB", MetricsFile).WithHint(`write {"name": number, ...}`)
	}
	out := map[string]float64{}
	for name, value := range members {
		if number, ok := value.(float64); ok {
			out[name] = number
		}
	}
	return out, nil
}
