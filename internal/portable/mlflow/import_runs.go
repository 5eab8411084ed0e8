package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"time"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/tracking"
)

// files stores the contents of a run's artifacts, and notes what has none.
func (im *importing) files(ctx context.Context, p *prepared) error {
	object := "run " + p.ID
	if p.leftover != nil {
		b, err := json.MarshalIndent(p.leftover, "", "  ")
		if err != nil {
			return err
		}
		if err := im.put(ctx, p, Leftovers, bytes.NewReader(b)); err != nil {
			return err
		}
	}
	at, folder, found := im.locate(object, p.ArtifactURI, p.ID, p.folder)
	if !found {
		return nil
	}
	return im.eachFile(ctx, object, at, folder, func(name string, r io.Reader) error {
		return im.put(ctx, p, name, r)
	})
}

// locate finds the folder of artifacts that a URI means, as id's, or else the one that
// stands where the store has id. It notes a URI of another machine that nothing was found
// for.
func (im *importing) locate(object, uri, id, folder string) (at place, name string, found bool) {
	at, name, found, remote := im.places.locate(uri, id)
	if !found && folder != "" {
		at, name = im.places[0], path.Join(folder, artifactsFolder)
		found = at.isFolder(name)
	}
	if !found && remote {
		im.notes.add(Note{Object: object, Why: fmt.Sprintf("its artifacts at %s were not brought: no folder that was given has them", im.mask(clip(uri)))})
	}
	return at, name, found
}

// artifactRoot is the URI under which MLflow's clients find the artifacts of a run, or of
// models/ID.
func artifactRoot(experiment int64, id string) string {
	return fmt.Sprintf("mlflow-artifacts:/%d/%s/artifacts", experiment, id)
}

// eachFile calls store for every file of a folder of artifacts that may be stored.
func (im *importing) eachFile(ctx context.Context, object string, at place, folder string, store func(name string, r io.Reader) error) error {
	leave := func(name string, err error) {
		im.counts[artifacts].LeftOut++
		im.notes.add(Note{Object: object, Why: fmt.Sprintf("artifact %q left out: %v", clip(name), err)})
	}
	return at.each(folder, func(name string, size int64) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		im.counts[artifacts].Found++
		if err := quant.ValidateArtifactName(name); err != nil {
			leave(name, err)
			return nil
		}
		if im.o.MaxBytes > 0 && size > im.o.MaxBytes {
			leave(name, fmt.Errorf("it has %d bytes, more than %d", size, im.o.MaxBytes))
			return nil
		}
		f, err := at.open(path.Join(folder, name))
		if err != nil {
			leave(name, err)
			return nil
		}
		defer f.Close()
		in := &reader{r: f}
		err = store(name, in)
		if err != nil && in.err != nil && ctx.Err() == nil {
			leave(name, in.err)
			return nil
		}
		return err
	}, func(name string, err error) {
		im.counts[artifacts].Found++
		leave(name, err)
	})
}

// reader keeps apart what went wrong with reading.
type reader struct {
	r   io.Reader
	err error
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (im *importing) put(ctx context.Context, p *prepared, name string, r io.Reader) error {
	digest, size, err := im.lab.Artifacts().Put(ctx, r)
	if err != nil {
		return err
	}
	p.bytes += size
	p.batch.Artifacts = append(p.batch.Artifacts, quant.Artifact{RunID: p.quantID, Name: name, Digest: digest, Bytes: size, LoggedAt: im.ended(p)})
	return nil
}

// ended is when a run ended; of one that nobody saw end, when it started.
func (im *importing) ended(p *prepared) quant.Time { return timeOr(p.End, p.row.StartedAt) }

// flush stores the runs that wait, in one commit. Where one of them is refused, each is
// stored in a commit of its own, and that one noted.
func (im *importing) flush(ctx context.Context) error {
	list := im.waiting
	im.waiting, im.weight = nil, 0
	if len(list) == 0 {
		return nil
	}
	failpoint.Hit("carry.contents")
	before := im.notes
	done := make([]stored, len(list))
	err := im.lab.Meta.Tx(ctx, func(ctx context.Context) (err error) {
		for i, p := range list {
			if done[i], err = im.store(ctx, p); err != nil {
				return err
			}
		}
		failpoint.Hit("carry.rows")
		return nil
	})
	if err == nil {
		failpoint.Hit("carry.committed")
		for i, p := range list {
			im.count(p, done[i])
		}
		return nil
	}
	if !refusal(err) {
		return err
	}
	im.notes = before
	for _, p := range list {
		var one stored
		err := im.lab.Meta.Tx(ctx, func(ctx context.Context) (err error) {
			one, err = im.store(ctx, p)
			return err
		})
		switch {
		case err == nil:
			im.count(p, one)
		case refusal(err):
			im.counts[Runs].LeftOut++
			im.notes.skip("run "+p.ID, err)
		default:
			return err
		}
	}
	return nil
}

// stored is what storing a run found.
type stored struct {
	there           bool // somebody was quicker
	points, leftOut int64
}

func (im *importing) count(p *prepared, s stored) {
	if s.there {
		im.counts[Runs].There++
		return
	}
	im.counts[Runs].Imported++
	im.bytes += p.bytes
	for noun, n := range map[int]int{params: len(p.Params), tags: len(p.Tags), datasets: len(p.Inputs)} {
		im.counts[noun].Found += int64(n)
		im.counts[noun].Imported += int64(n) - p.leftOut[noun]
		im.counts[noun].LeftOut += p.leftOut[noun]
	}
	im.counts[artifacts].Imported += int64(len(p.batch.Artifacts))
	if p.leftover != nil {
		im.counts[artifacts].Found++
	}
	im.counts[points].Found += s.points + s.leftOut
	im.counts[points].Imported += s.points
	im.counts[points].LeftOut += s.leftOut
}

// store stores the rows of a run inside a transaction.
func (im *importing) store(ctx context.Context, p *prepared) (s stored, err error) {
	meta := im.lab.Meta
	if s.there, err = im.there(ctx, p.ID, p.quantID); err != nil || s.there {
		return s, err
	}
	client := metastore.RunClient{RunID: p.quantID, ClientID: p.ID, Status: tracking.Running, SeenAt: p.row.StartedAt}
	if err := meta.CreateClientRun(ctx, p.row, p.process, client, p.batch); err != nil {
		return s, err
	}
	last, err := im.storePoints(ctx, p, &s)
	if err != nil {
		return s, err
	}
	if len(p.datasets)+len(p.models) > 0 {
		if err := meta.LogInputs(ctx, p.datasets, p.models); err != nil {
			return s, err
		}
	}
	end := metastore.RunEnd{RunID: p.quantID, EndedAt: timeOr(p.End, last)}
	took := end.EndedAt.Sub(p.row.StartedAt.Time)
	if us := took.Microseconds(); p.End > 0 && us >= 0 {
		end.DurationUS = &us
	}
	word := p.Status
	switch p.Status {
	case finished:
		end.Status = quant.Success
	case failed, killed:
		end.Status, end.ErrorText = quant.Fail, "its client said "+string(p.Status)
	default:
		end.Status, end.ErrorText, word = quant.Fail, fmt.Sprintf("it was %s when it was imported", p.Status), killed
		im.notes.add(Note{Object: "run " + p.ID, Why: fmt.Sprintf("it was %s: it is imported as ended then, as FAIL", p.Status)})
	}
	if err := meta.EndClientRun(ctx, end, string(word), end.EndedAt); err != nil {
		return s, err
	}
	if err := meta.MarkImported(ctx, quant.Import{RunID: p.quantID, ImportedAt: im.o.At, ByRunID: quant.Text(im.o.By)}); err != nil {
		return s, err
	}
	if p.Deleted {
		err = meta.DeleteClientRun(ctx, quant.Deletion{RunID: p.quantID, DeletedAt: timeOr(p.DeletedAt, im.o.At), ByRunID: quant.Text(im.o.By)})
	}
	return s, err
}

// storePoints stores the points of a run, and returns when the last was logged: at least
// when the run started.
func (im *importing) storePoints(ctx context.Context, p *prepared, s *stored) (last quant.Time, err error) {
	last = p.row.StartedAt
	var batch metastore.ClientBatch
	flush := func() error {
		if len(batch.Metrics)+len(batch.NaNs) == 0 {
			return nil
		}
		err := im.lab.Meta.LogClient(ctx, p.ID, batch)
		batch.Metrics, batch.NaNs = batch.Metrics[:0], batch.NaNs[:0]
		return err
	}
	bad := map[string]int64{} // points by the reason that keeps them out
	err = im.from.eachPoint(ctx, p.run, func(one point) error {
		v := quant.MetricPoint{RunID: p.quantID, Name: one.Key, Step: one.Step, Value: finite(one.Value), LoggedAt: timeOr(one.Timestamp, p.row.StartedAt)}
		nan := math.IsNaN(one.Value)
		if nan {
			v.Value = 0
		}
		err := v.Validate()
		if err == nil && v.Step == quant.AutoStep {
			err = quant.Errorf(quant.Invalid, "metric %q: a step out of range", clip(v.Name))
		}
		if err != nil {
			if why := err.Error(); len(bad) < 100 || bad[why] > 0 {
				bad[why]++
			} else {
				bad["and others"]++
			}
			s.leftOut++
			return nil
		}
		if v.LoggedAt.After(last.Time) && v.LoggedAt.Before(time.Now()) {
			last = v.LoggedAt
		}
		if nan {
			batch.NaNs = append(batch.NaNs, v)
		} else {
			batch.Metrics = append(batch.Metrics, v)
		}
		s.points++
		if len(batch.Metrics)+len(batch.NaNs) >= pointsAtOnce {
			return flush()
		}
		return nil
	})
	if err != nil {
		return last, err
	}
	for _, why := range sortedKeys(bad) {
		im.notes.add(Note{Object: "run " + p.ID, Why: fmt.Sprintf("%d points left out: %s", bad[why], why)})
	}
	return last, flush()
}

// finite is a value as MLflow's databases keep it: what is infinite is the greatest
// finite number.
func finite(v float64) float64 {
	switch {
	case math.IsInf(v, 1):
		return math.MaxFloat64
	case math.IsInf(v, -1):
		return -math.MaxFloat64
	}
	return v
}
