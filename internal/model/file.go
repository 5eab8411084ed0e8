package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
)

// Format is the version of the model file's form.
const Format = 1

// Document is a model as its file holds it: readable, and the same bytes for
// the same data and choices. It holds no time, no run and no path.
type Document struct {
	Format       int       `json:"format"`
	ExperimentID string    `json:"experiment_id"`
	Algo         Algo      `json:"algo"`
	Features     []Feature `json:"features"`
	Label        Label     `json:"label"`
	SplitPolicy  Policy    `json:"split_policy"`
	Alphas       []float64 `json:"alphas"` // that were to choose from
	Seed         int64     `json:"seed"`
	Calendar     string    `json:"calendar"`
	Data         Data      `json:"data"`
	Folds        []Fold    `json:"folds"` // in the order of time
	Final        Fold      `json:"final"` // of all samples
	Program      *Program  `json:"program,omitempty"`
}

// Data tells what a model was trained on: the samples, and nothing that has no
// label yet.
type Data struct {
	Samples int    `json:"samples"`
	LeftOut int64  `json:"left_out"` // labels whose day lacks a feature
	Digest  string `json:"digest"`   // of the samples
}

// Fold is one fitted model: of a fold, or the final one. Its value is
// intercept + the sum of coefficient x (x - mean) / deviation: the return
// itself for Ridge, the logarithm of the odds for Logistic.
type Fold struct {
	TaskID        string        `json:"task_id"`
	TrainFrom     quant.Date    `json:"train_from"` // first and last day t of its samples
	TrainTo       quant.Date    `json:"train_to"`
	TrainLabelEnd quant.Date    `json:"train_label_end"` // the last t1: it may score any later day
	Samples       int           `json:"samples"`
	TestFrom      *quant.Date   `json:"test_from"` // null for the final one
	TestTo        *quant.Date   `json:"test_to"`
	Alpha         float64       `json:"alpha"`
	Intercept     float64       `json:"intercept"`
	Coefficients  []Coefficient `json:"coefficients"`
	// Of a program: the files that it keeps of what it learned, and the digest of what
	// it predicted of the test.
	Files       []KeptFile `json:"files,omitempty"`
	Predictions string     `json:"predictions,omitempty"`
}

// Coefficient is that of one standardised feature.
type Coefficient struct {
	Feature     Feature `json:"feature"`
	Coefficient float64 `json:"coefficient"`
	Mean        float64 `json:"mean"`
	Deviation   float64 `json:"deviation"`
}

func (f Fold) fitted() *fitted {
	out := &fitted{intercept: f.Intercept}
	for _, c := range f.Coefficients {
		out.coefficient = append(out.coefficient, c.Coefficient)
		out.mean = append(out.mean, c.Mean)
		out.deviation = append(out.deviation, c.Deviation)
	}
	return out
}

// Encode returns the bytes of the document and their digest, sha256:<hex>.
// Failed: a coefficient is no number.
func (d Document) Encode() (text []byte, digest string, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, "", quant.Errorf(quant.Failed, "encode the model: %w", err).WithHint("look for features of extreme size")
	}
	return b.Bytes(), durable.Digest(b.Bytes()), nil
}

// ID is the model's: its algorithm and the head of its digest, as Encode gives it.
func ID(algo Algo, digest string) string {
	digits, _ := durable.DigestHex(digest)
	return string(algo) + "-" + digits[:12]
}

// FileName is the name, in the folder of models, of the file with this digest.
// Store: it is no digest.
func FileName(digest string) (string, error) {
	name, ok := durable.DigestHex(digest)
	if !ok {
		return "", quant.Errorf(quant.Store, "%q is no digest of a model file", digest).WithHint("train the model again")
	}
	return name + ".json", nil
}

// Save writes the document into dir, which it makes (0700), under the name that
// its digest gives it: 0600, durable, whole or not at all. A file that stands
// there with other bytes is replaced, the same one left alone.
func Save(dir string, d Document) (digest string, err error) {
	text, digest, err := d.Encode()
	if err != nil {
		return "", err
	}
	name, err := FileName(digest)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return digest, nil
	}
	if err := writeFile(dir, path, text); err != nil {
		return "", quant.Errorf(quant.Store, "write the model file %s: %w", path, err).WithHint("make the folder writable, and make room")
	}
	return digest, nil
}

func writeFile(dir, path string, text []byte) error {
	if err := durable.MakeFolder(dir); err != nil {
		return err
	}
	return durable.Replace(path, 0o600, durable.Bytes(text))
}

// maxFileBytes bounds what Load reads: far more than 200 features in 100 folds.
const maxFileBytes = 64 << 20

// Load reads the model with this digest from dir and verifies it. Store: there
// is no such file, or it cannot be read. Refused: it was changed since it was
// written.
func Load(dir, digest string) (Document, error) {
	name, err := FileName(digest)
	if err != nil {
		return Document{}, err
	}
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Document{}, quant.Errorf(quant.Store, "the model file %s is missing", path).WithHint("train the model again: the same data gives the same file")
	}
	if err != nil {
		return Document{}, quant.Errorf(quant.Store, "open the model file: %w", err).WithHint("make it readable")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return Document{}, quant.Errorf(quant.Store, "read the model file %s: %w", path, err).WithHint("make it readable")
	}
	if durable.Digest(text) != digest {
		return Document{}, quant.Errorf(quant.Refused, "the model file %s was changed since it was written", path).WithHint("train the model again: the same data gives the same file")
	}
	d, err := parse(text)
	if err != nil {
		return Document{}, quant.Errorf(quant.Refused, "the model file %s cannot be used: %w", path, err).WithHint("train the model again, or use the quant that wrote it")
	}
	return d, nil
}

// parse reads a document. What it accepts can score.
func parse(text []byte) (Document, error) {
	var d Document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, err
	}
	if d.Format != Format {
		return d, quant.Errorf(quant.Invalid, "format %d is not %d", d.Format, Format)
	}
	spec := Spec{Algo: d.Algo, Features: d.Features, Label: d.Label, Policy: d.SplitPolicy, Alphas: d.Alphas, Program: d.Program}
	if err := spec.Validate(); err != nil {
		return d, err
	}
	if d.Algo == ByProgram {
		return d, d.validateFiles()
	}
	for _, f := range append(d.Folds[:len(d.Folds):len(d.Folds)], d.Final) {
		if len(f.Coefficients) != len(d.Features) {
			return d, quant.Errorf(quant.Invalid, "%s has %d coefficients for %d features", f.TaskID, len(f.Coefficients), len(d.Features))
		}
		for i, c := range f.Coefficients {
			if c.Feature != d.Features[i] || !(c.Deviation > 0) || math.IsInf(c.Deviation, 0) {
				return d, quant.Errorf(quant.Invalid, "%s: coefficient %d is not that of %s", f.TaskID, i+1, d.Features[i])
			}
		}
	}
	return d, nil
}
