package tracking

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Tag is a tag as clients say it.
type Tag struct{ Key, Value string }

// The words of clients for where a run stands.
const (
	Running   = "RUNNING"
	Scheduled = "SCHEDULED"
	Finished  = "FINISHED"
	Failed    = "FAILED"
	Killed    = "KILLED"
)

// Run is a run as clients see it.
type Run struct {
	metastore.ClientRun
	Params  []quant.Param
	Tags    []Tag // by key
	Metrics []metastore.LatestMetric
}

// Name is the name of the run; "": it has none.
func (r Run) Name() string {
	for _, t := range r.Tags {
		if t.Key == runNameTag {
			return t.Value
		}
	}
	return ""
}

// ExperimentID is what clients call its experiment by.
func (r Run) ExperimentID() string { return strconv.FormatInt(r.Number, 10) }

// Status is where the run stands, in the words of clients: what the client said,
// unless quant closed the run.
func (r Run) Status() string { return statusWord(r.ClientRun) }

func statusWord(r metastore.ClientRun) string {
	switch r.Run.Status {
	case quant.Success:
		return Finished
	case quant.Fail:
		if r.Status == Killed {
			return Killed
		}
		return Failed
	}
	if r.Status == Scheduled {
		return Scheduled
	}
	return Running
}

// NewRun is a run that a client makes.
type NewRun struct {
	ExperimentID string
	UserID       string
	Name         string
	Start        *int64 // milliseconds; nil: now
	Tags         []Tag
}

// CreateRun records a run as RUNNING, durably, and returns it. Errors: NotFound for
// the experiment; Invalid.
func (t *Tracking) CreateRun(ctx context.Context, n NewRun) (Run, error) {
	e, err := t.active(ctx, n.ExperimentID)
	if err != nil {
		return Run{}, err
	}
	if n.Name, n.Tags, err = namedRun(n.Name, n.Tags); err != nil {
		return Run{}, err
	}
	started := t.now()
	if n.Start != nil {
		if started, err = timeOf("start_time", *n.Start); err != nil {
			return Run{}, err
		}
	}
	tags := []quant.Tag{{Name: quant.ExperimentTag, Value: e.ExperimentID}}
	said := map[string]string{}
	for i, tag := range n.Tags {
		if err := validTag(tag, indexed("tags", i)); err != nil {
			return Run{}, err
		}
		said[tag.Key] = tag.Value
		tags = append(tags, quant.Tag{Name: tagName(tag.Key), Value: tag.Value})
	}
	parent, err := t.parentOf(ctx, said[parentTag])
	if err != nil {
		return Run{}, err
	}
	user := n.UserID
	if user == "" {
		user = said[userTag]
	}
	row, process, err := t.Registry.PrepareElsewhere(elsewhere(started.Time, user, parent, said, n))
	if err != nil {
		return Run{}, err
	}
	client := metastore.RunClient{RunID: row.RunID, ClientID: strings.ReplaceAll(row.RunID, "-", ""), Status: Running, SeenAt: t.now()}
	batch := t.Registry.Masked(row.RunID, metastore.Batch{Tags: tags})
	if err := t.writes.do(ctx, func(ctx context.Context) error {
		return t.Store.CreateClientRun(ctx, row, process, client, batch)
	}); err != nil {
		return Run{}, err
	}
	r := Run{ClientRun: metastore.ClientRun{
		RunDetail: metastore.RunDetail{Run: row, Process: process}, ClientID: client.ClientID, Status: Running, Number: e.Number,
	}}
	r.Tags = clientTags(batch.Tags)
	return r, nil
}

// namedRun gives a run its name: what the client said, as an argument or as a tag,
// or one of ours. The tag of it is the only one in tags.
func namedRun(name string, tags []Tag) (string, []Tag, error) {
	tags = slices.Clone(tags)
	i := slices.IndexFunc(tags, func(t Tag) bool { return t.Key == runNameTag })
	if i >= 0 && tags[i].Value != "" {
		if name != "" && name != tags[i].Value {
			return "", nil, invalidf("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='%s', mlflow.runName='%s').", quant.Clip(name, 200), quant.Clip(tags[i].Value, 200))
		}
		return tags[i].Value, tags, nil
	}
	if name == "" {
		name = randomName()
	}
	if i >= 0 {
		tags[i].Value = name
		return name, tags, nil
	}
	return name, append(tags, Tag{runNameTag, name}), nil
}

// elsewhere is what quant records of a run of a client beside its tags.
func elsewhere(started time.Time, user, parent string, said map[string]string, n NewRun) registry.Elsewhere {
	e := registry.Elsewhere{Kind: Kind, Started: started, User: user, Parent: parent, GitCommit: said[gitCommitTag]}
	if source := said[sourceTag]; source != "" {
		e.Argv = []string{source}
	}
	config := map[string]any{"client": "mlflow", "run_name": n.Name}
	for _, key := range []string{"mlflow.source.name", "mlflow.source.type", "mlflow.project.entryPoint", "mlflow.user"} {
		if said[key] != "" {
			config[strings.TrimPrefix(key, "mlflow.")] = said[key]
		}
	}
	e.Config = config
	return e
}

// parentOf is the run of quant that a client's parent is; "" for one that is none.
func (t *Tracking) parentOf(ctx context.Context, clientID string) (string, error) {
	if clientID == "" {
		return "", nil
	}
	found, err := t.Store.ClientRuns(ctx, []string{clientID}, true)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].RunID, nil
}

// find returns a run by the client's id, deleted or not.
func (t *Tracking) find(ctx context.Context, clientID string) (metastore.ClientRun, error) {
	found, err := t.Store.ClientRuns(ctx, []string{clientID}, true)
	if err == nil && len(found) == 0 {
		err = noRun(clientID)
	}
	if err != nil {
		return metastore.ClientRun{}, err
	}
	return found[0], nil
}

func noRun(clientID string) error {
	return notFoundf("Run with id=%s not found", quant.Clip(clientID, 100))
}

// findActive is find for what needs a run that is not deleted.
func (t *Tracking) findActive(ctx context.Context, clientID string) (metastore.ClientRun, error) {
	r, err := t.find(ctx, clientID)
	if err == nil && !r.DeletedAt.IsZero() {
		err = notActive(clientID)
	}
	return r, err
}

func notActive(clientID string) error {
	return invalidf("The run %s must be in the 'active' state. Current state is deleted.", clientID)
}

// GetRun returns a run, deleted or not, with what is recorded of it.
func (t *Tracking) GetRun(ctx context.Context, clientID string) (Run, error) {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return Run{}, err
	}
	list, err := t.recorded(ctx, []metastore.ClientRun{r})
	if err != nil {
		return Run{}, err
	}
	return list[0], nil
}

// recorded adds what is recorded of runs: three statements, however many they are.
func (t *Tracking) recorded(ctx context.Context, rows []metastore.ClientRun) ([]Run, error) {
	list, ids, at := make([]Run, len(rows)), make([]string, len(rows)), make(map[string]int, len(rows))
	for i, row := range rows {
		list[i].ClientRun, ids[i], at[row.RunID] = row, row.RunID, i
	}
	if len(ids) == 0 {
		return list, nil
	}
	params, tags, err := t.Store.ParamsAndTagsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	metrics, err := t.Store.LatestMetrics(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		r := &list[at[p.RunID]]
		r.Params = append(r.Params, p)
	}
	ofRun := make([][]quant.Tag, len(list))
	for _, tag := range tags {
		ofRun[at[tag.RunID]] = append(ofRun[at[tag.RunID]], tag)
	}
	for i := range list {
		list[i].Tags = clientTags(ofRun[i])
	}
	for _, m := range metrics {
		r := &list[at[m.RunID]]
		r.Metrics = append(r.Metrics, m)
	}
	return list, nil
}

// clientTags are stored tags as clients see them.
func clientTags(stored []quant.Tag) []Tag {
	var tags []Tag
	for _, tag := range stored {
		if key := tagKey(tag.Name); key != "" {
			tags = append(tags, Tag{key, tag.Value})
		}
	}
	slices.SortFunc(tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags
}

// RunUpdate is what a client changes of a run; nil stays as it is.
type RunUpdate struct {
	ID     string
	Status *string
	End    *int64 // milliseconds
	Name   *string
}

// UpdateRun changes the status and the name of a run. A final status closes the run;
// RUNNING, or another final one, for a run that has ended makes a new run that
// continues it under the client's id: what has ended stays ended. Errors: NotFound;
// Invalid, also for a deleted run.
func (t *Tracking) UpdateRun(ctx context.Context, u RunUpdate) (Run, error) {
	r, err := t.findActive(ctx, u.ID)
	if err != nil {
		return Run{}, err
	}
	var ended quant.Time
	if u.End != nil {
		if ended, err = timeOf("end_time", *u.End); err != nil {
			return Run{}, err
		}
	}
	if u.Name != nil && *u.Name != "" {
		if err := validText("run_name", *u.Name, maxTagValue); err != nil {
			return Run{}, err
		}
		if err := t.log(ctx, u.ID, metastore.ClientBatch{Batch: metastore.Batch{Tags: []quant.Tag{{Name: quant.NameTag, Value: *u.Name}}}}); err != nil {
			return Run{}, err
		}
	}
	if u.Status != nil {
		if err := t.setStatus(ctx, r, *u.Status, ended); err != nil {
			return Run{}, err
		}
	}
	if r, err = t.find(ctx, u.ID); err != nil {
		return Run{}, err
	}
	list, err := t.recorded(ctx, []metastore.ClientRun{r})
	if err != nil {
		return Run{}, err
	}
	return list[0], nil
}

// setStatus brings a run to a status.
func (t *Tracking) setStatus(ctx context.Context, r metastore.ClientRun, status string, ended quant.Time) error {
	final := status == Finished || status == Failed || status == Killed
	if !final && status != Running && status != Scheduled {
		return invalidValue("status", status, "it is none of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED")
	}
	if r.Run.Status != quant.Running {
		if statusWord(r) == status {
			return nil // it has ended so already
		}
		if err := t.continueRun(ctx, &r); err != nil {
			return err
		}
	}
	if !final {
		if r.Status == status {
			return nil
		}
		return t.writes.do(ctx, func(ctx context.Context) error {
			return t.Store.SetClientStatus(ctx, r.RunID, status, t.now())
		})
	}
	if ended.IsZero() {
		ended = t.now()
	}
	end := metastore.RunEnd{RunID: r.RunID, EndedAt: ended, Status: quant.Success}
	if status != Finished {
		end.Status, end.ErrorText = quant.Fail, "its client said "+status
	}
	exit := int64(0)
	if status == Finished {
		end.ExitCode = &exit
	}
	if d := ended.Sub(r.StartedAt.Time).Microseconds(); d >= 0 {
		end.DurationUS = &d
	}
	err := t.writes.do(ctx, func(ctx context.Context) error { return t.Store.EndClientRun(ctx, end, status, t.now()) })
	t.life.forget(r.RunID)
	return err
}

// continueRun makes a run that continues one that has ended.
func (t *Tracking) continueRun(ctx context.Context, r *metastore.ClientRun) error {
	now := t.now()
	whole, err := t.Store.ClientRuns(ctx, []string{r.ClientID}, false)
	if err != nil {
		return err
	}
	if len(whole) == 0 {
		return noRun(r.ClientID)
	}
	old := whole[0]
	var config any
	if len(old.ConfigJSON) > 0 {
		config = old.ConfigJSON
	}
	row, process, err := t.Registry.PrepareElsewhere(registry.Elsewhere{
		Kind: Kind, Started: old.StartedAt.Time, Config: config, Parent: string(old.Process.ParentRunID),
		Host: string(old.Process.Host), User: string(old.Process.User), WorkDir: string(old.Process.WorkDir), GitCommit: string(old.Process.GitCommit),
	})
	if err != nil {
		return err
	}
	process.Argv = old.Process.Argv
	client := metastore.RunClient{RunID: row.RunID, ClientID: old.ClientID, Status: Running, SeenAt: now}
	err = t.writes.do(ctx, func(ctx context.Context) error {
		return t.Store.ContinueClientRun(ctx, row, process, client, old.RunID)
	})
	if errors.Is(err, quant.Conflict) { // somebody else was quicker
		again, e := t.find(ctx, r.ClientID)
		if e == nil && again.RunID != old.RunID && again.Run.Status == quant.Running {
			*r = again
			return nil
		}
	}
	if err != nil {
		return err
	}
	r.Run, r.Process, r.Status = row, process, Running
	return nil
}

// DeleteRun marks a run as deleted, also one that is RUNNING: its client may go on
// only once it is restored, and Sweep ends it when the client does not.
func (t *Tracking) DeleteRun(ctx context.Context, clientID string) error {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return err
	}
	return t.writes.do(ctx, func(ctx context.Context) error {
		return t.Store.DeleteClientRun(ctx, quant.Deletion{RunID: r.RunID, DeletedAt: t.now(), ByRunID: quant.Text(t.RunID)})
	})
}

// RestoreRun takes back DeleteRun.
func (t *Tracking) RestoreRun(ctx context.Context, clientID string) error {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return err
	}
	return t.writes.do(ctx, func(ctx context.Context) error {
		_, err := t.Store.RestoreRuns(ctx, []string{r.RunID})
		return err
	})
}
