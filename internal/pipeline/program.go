package pipeline

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"quant"
	"quant/internal/durable"
	"quant/internal/exec"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/session"
)

// programLog is how much is kept of what a program prints that trains or scores.
const programLog = 64 << 20

// The artifacts of a run that trains. Behind those that end in a slash comes a name.
const (
	programArtifact     = "program/"     // a file that the command line of a program names
	importancesArtifact = "importances/" // what a program wrote of the importance of features, by fold
	importanceArtifact  = "importance.csv"
	predictionsArtifact = "predictions.parquet" // what a program predicted of the tests of its folds
)

// mostCode bounds a file that a program's command line names and that counts as its
// code: a larger one is data.
const mostCode = 16 << 20

// workFolder is the folder in which this process works; "" where it is gone.
func workFolder() string {
	folder, err := os.Getwd()
	if err != nil {
		return ""
	}
	return folder
}

// recordCode records the files that a command line names: each as an input, and as an
// artifact, in which secrets that are written out are masked.
func recordCode(ctx context.Context, s *session.Session, argv []string) ([]model.CodeFile, error) {
	list := []model.CodeFile{}
	for _, arg := range codeOf(argv) {
		text, err := os.ReadFile(arg)
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "read %s: %w", arg, err).WithHint("make it readable")
		}
		digest := durable.Digest(text)
		list = append(list, model.CodeFile{Argument: arg, Digest: digest})
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: arg, Digest: quant.Text(digest)})
		kept := text
		if utf8.Valid(text) {
			kept = []byte(strings.Join(s.Mask.Code(arg, strings.Split(string(text), "\n")), "\n"))
		}
		if !bytes.Equal(kept, text) {
			s.Log(metastore.Batch{Notes: []quant.Note{{Text: "in the artifact of " + arg + " a secret is masked: it cannot be run as it is kept"}}})
		}
		if err := keepArtifact(ctx, s, programArtifact+filepath.Base(arg), bytes.NewReader(kept)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// codeOf are the arguments of a command line that name files which count as code.
func codeOf(argv []string) (list []string) {
	for i, arg := range argv {
		info, err := os.Stat(arg)
		if err == nil && info.Mode().IsRegular() && info.Size() <= mostCode && (i > 0 || isScript(arg)) {
			list = append(list, arg)
		}
	}
	return list
}

// isScript reports whether the name of a program is that of a script: of another
// program, the packages and the environment are recorded, not its bytes.
func isScript(name string) bool {
	if !strings.Contains(name, "/") {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == "#!"
}

func keepArtifact(ctx context.Context, s *session.Session, name string, content io.Reader) error {
	digest, size, err := s.Artifacts().Put(ctx, content)
	if err != nil {
		return err
	}
	s.Log(metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}})
	return nil
}

// train trains on samples, and measures importance, with or without a program.
func (o TrainOptions) train(ctx context.Context, s *session.Session, spec model.Spec, samples *model.Samples) (t model.Trained, list []model.Importance, err error) {
	do := func(work *model.Workshop) error {
		proof := o.Proof
		if proof == "" {
			proof = model.ProofOne
		}
		if t, err = samples.Train(ctx, work, proof); err != nil {
			return err
		}
		if o.Importance != model.NoImportance {
			list, err = samples.Importances(ctx, t, o.Importance, work)
		}
		return err
	}
	if spec.Program == nil {
		return t, list, do(nil)
	}
	err = withProgram(ctx, s, *spec.Program, "", o.Timeout, func(work *model.Workshop) error {
		work.Wrote = func(task, name, path string) error { return keepWritten(ctx, s, task, name, path) }
		if err := do(work); err != nil {
			return err
		}
		path := filepath.Join(work.Folder, predictionsArtifact)
		if err := samples.WritePredictions(ctx, path, t); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return quant.Errorf(quant.Failed, "read %s: %w", path, err)
		}
		defer f.Close()
		return keepArtifact(ctx, s, predictionsArtifact, f)
	})
	if err == nil && o.Proof == model.ProofNone {
		s.Say().Warn("NOT PROVED: whether the program looks ahead was not tried (--proof none)")
	}
	return t, list, err
}

// withProgram gives a program a folder of this run's own in the scratch folder of the
// lab, which is deleted afterwards, and records it. folder is where it is started; "":
// where this process works.
func withProgram(ctx context.Context, s *session.Session, p model.Program, folder string, timeout time.Duration, do func(work *model.Workshop) error) (err error) {
	scratch, err := filepath.Abs(s.ScratchDir())
	if err == nil {
		err = os.MkdirAll(scratch, 0o700)
	}
	room := ""
	if err == nil {
		room, err = os.MkdirTemp(scratch, place.Training+"*")
	}
	if err != nil {
		return quant.Errorf(quant.Store, "make a folder for the program: %w", err).WithHint("make the data folder writable, and make room")
	}
	defer func() {
		if gone := os.RemoveAll(room); gone != nil {
			s.Say().Warn("%s could not be deleted: %v", room, gone)
		}
		_ = os.Remove(scratch) // if nothing else is in it
	}()
	host := s.Programs()
	worker, err := exec.OpenWorker(s, exec.WorkerOptions{Argv: p.Argv, Environ: host.Environ, Dir: folder, Show: host.Show, LogMax: programLog})
	if err != nil {
		return err
	}
	defer func() {
		if closed := worker.Close(); err == nil {
			err = closed
		}
	}()
	called := false
	err = do(&model.Workshop{Folder: room, ModelDir: s.ModelDir(), Call: func(ctx context.Context, variables []string) error {
		called = true
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, quant.Errorf(quant.Failed, "the program %s did not end within %s, and was ended", p.Argv[0], timeout).
				WithHint("give it more with --timeout; `quant runs logs %s` shows what it printed", quant.ShortID(s.RunID())))
			defer cancel()
		}
		return worker.Call(ctx, variables)
	}})
	if said := worker.LastLine(); errors.Is(err, quant.Refused) && called && said != "" {
		s.Say().Notice("the program's last line: %s", said)
	}
	return err
}

// keepWritten records what a program wrote beside its predictions: its metrics, as
// program.NAME with a step a fold, and its importances.
func keepWritten(ctx context.Context, s *session.Session, task, name, path string) error {
	if name != model.MetricsFile {
		f, err := os.Open(path)
		if err != nil {
			return quant.Errorf(quant.Failed, "read %s: %w", name, err)
		}
		defer f.Close()
		return keepArtifact(ctx, s, importancesArtifact+strings.ReplaceAll(task, ":", "-")+filepath.Ext(name), io.LimitReader(f, programLog))
	}
	metrics, err := model.ReadMetrics(path)
	if err != nil {
		return err
	}
	_, fold, _ := strings.Cut(task, ":")
	step, _ := strconv.Atoi(fold) // of the final fit: 0
	var b metastore.Batch
	for name, value := range metrics {
		point := quant.MetricPoint{RunID: s.RunID(), Name: "program." + name, Step: int64(step), Value: value, LoggedAt: quant.NewTime(s.Now())}
		if err := point.Validate(); err != nil {
			return quant.Errorf(quant.Refused, "%s: %w", model.MetricsFile, err)
		}
		b.Metrics = append(b.Metrics, point)
	}
	s.Log(b)
	return nil
}

// logImportance records the importance of features: of each, the IC that it adds as a
// metric, and all of it as an artifact.
func logImportance(ctx context.Context, s *session.Session, list []model.Importance) error {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write([]string{"method", "feature", "repeats", "ic", "rank_ic", "loss"}) // into memory
	figure := func(v *float64) string {
		if v == nil {
			return ""
		}
		return decimal(*v)
	}
	for _, i := range list {
		_ = w.Write([]string{string(i.Method), i.Feature.String(), strconv.Itoa(i.Repeats), figure(i.IC), figure(i.RankIC), figure(i.Loss)})
		if i.IC != nil {
			s.Log(metastore.Batch{Metrics: []quant.MetricPoint{{Name: "importance." + string(i.Method) + "." + i.Feature.String(), Value: *i.IC, LoggedAt: quant.NewTime(s.Now())}}})
		}
	}
	w.Flush()
	return keepArtifact(ctx, s, importanceArtifact, &text)
}

// checkCode refuses a program of which a file is not what it was when the model was
// trained, and records those that are.
func checkCode(s *session.Session, modelID, folder string, p model.Program) error {
	for _, c := range p.Code {
		path := c.Argument
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		digest, err := digestOfFile(path)
		if err != nil && !errors.Is(err, quant.NotFound) {
			return err
		}
		if digest != c.Digest {
			what := "was changed since"
			if digest == "" {
				what = "is not there any more, and"
			}
			return quant.Errorf(quant.Refused, "%s %s model %s was trained with it", path, what, modelID).
				WithHint("put back what it was (artifact %s of the run that trained the model), or train again", programArtifact+filepath.Base(path))
		}
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: path, Digest: quant.Text(digest)})
	}
	return nil
}

// programFolder is where the program of a model is started: where it was when the
// model was trained, or here where that folder is gone.
func programFolder(params modelParams) string {
	if info, err := os.Stat(params.Folder); err == nil && info.IsDir() {
		return params.Folder
	}
	return workFolder()
}
