package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/secret"
)

// lab is one Meta DB with its liveness folder.
type lab struct {
	t     *testing.T
	store *sqlite.DB
	live  string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "meta.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &lab{t, store, filepath.Join(dir, "meta.db.live")}
}

func (l *lab) registry(change func(*registry.Options)) *registry.Registry {
	o := registry.Options{Store: l.store, Liveness: liveness.NewLocks(l.live, nil), BinaryVersion: "v1.2.3"}
	if change != nil {
		change(&o)
	}
	return registry.New(o)
}

func (l *lab) get(id string) metastore.RunDetail {
	l.t.Helper()
	run, err := l.store.GetRun(context.Background(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return run
}

func TestARunIsRecordedBeforeAndClosedAfter(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	ctx := t.Context()
	var id string
	err := g.Track(ctx, "ingest", map[string]any{"file": "a.csv"}, func(_ context.Context, run *registry.Run) error {
		id = run.ID
		row := l.get(id)
		if row.Status != quant.Running || !row.EndedAt.IsZero() || row.Process.PID != int64(os.Getpid()) || row.Process.BinaryVersion != "v1.2.3" {
			t.Errorf("while running: %+v", row)
		}
		run.Record(quant.RunIO{Direction: quant.In, Kind: "file", Name: "a.csv", Digest: "sha256:00"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	row := l.get(id)
	if row.Status != quant.Success || row.EndedAt.IsZero() || row.ErrorText != "" || *row.Process.ExitCode != 0 || *row.Process.DurationUS < 0 {
		t.Errorf("after: %+v", row)
	}
	list, err := l.store.RunIO(ctx, id)
	if err != nil || len(list) != 1 || list[0].Name != "a.csv" {
		t.Errorf("io %v, %v", list, err)
	}
	g.Close()
	if left, _ := os.ReadDir(l.live); len(left) != 0 {
		t.Errorf("lock files left: %v", left)
	}
}

func TestAFailedRunSaysWhyAndKeepsItsExitStatus(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	var id string
	err := g.Track(t.Context(), "ingest", nil, func(_ context.Context, run *registry.Run) error {
		id = run.ID
		return quant.Errorf(quant.Refused, "7 of 9 rows are bad").WithHint("look at rejects")
	})
	if quant.CodeOf(err) != quant.Refused {
		t.Fatal(err)
	}
	row := l.get(id)
	if row.Status != quant.Fail || *row.Process.ExitCode != 6 || !strings.Contains(string(row.ErrorText), "7 of 9") || !strings.Contains(string(row.ErrorText), "look at rejects") {
		t.Errorf("%+v", row)
	}
}

func TestAPanicIsRecordedWithItsStackAndGoesOn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	var id string
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not go on")
			}
		}()
		_ = g.Track(t.Context(), "x", nil, func(_ context.Context, run *registry.Run) error { id = run.ID; panic("boom") })
	}()
	row := l.get(id)
	if row.Status != quant.Fail || !strings.Contains(string(row.ErrorText), "boom") || !strings.Contains(string(row.ErrorText), "registry_test.go") {
		t.Errorf("%+v", row.ErrorText)
	}
}

func TestARunIsClosedAlthoughItsContextWasCancelled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	var id string
	err := l.registry(nil).Track(ctx, "x", nil, func(ctx context.Context, run *registry.Run) error {
		id = run.ID
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || l.get(id).Status != quant.Fail {
		t.Errorf("%v, %+v", err, l.get(id))
	}
}

func TestFinishingTwiceOrAnUnknownRunIsATypedError(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	ctx := t.Context()
	id, err := g.Start(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Success(ctx, id); err != nil {
		t.Fatal(err)
	}
	before := l.get(id)
	for _, err := range []error{g.Success(ctx, id), g.Fail(ctx, id, errors.New("late"))} {
		if !errors.Is(err, registry.ErrFinished) || !errors.Is(err, quant.Conflict) {
			t.Errorf("second finish: %v", err)
		}
	}
	if after := l.get(id); after.Status != before.Status || after.EndedAt != before.EndedAt || after.ErrorText != "" {
		t.Errorf("the second finish changed the row: %+v", after)
	}
	unknown := "01890000-0000-7000-8000-000000000000"
	if err := g.Success(ctx, unknown); !errors.Is(err, registry.ErrUnknown) || !errors.Is(err, quant.NotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestIdsAreVersion7AndInTheOrderOfTheirStarts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	at := time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)
	last := ""
	for i := range 200 {
		g := l.registry(func(o *registry.Options) {
			o.Now = func() time.Time { return at.Add(time.Duration(i) * time.Microsecond) }
		})
		id, err := g.Start(t.Context(), "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if id <= last || id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Fatalf("id %s after %s", id, last)
		}
		last = id
		if err := g.Success(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecretsInConfigArgvAndErrorAreMaskedBeforeTheyAreStored(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	mask := &secret.Masker{}
	mask.Know("canary-setting")
	g := l.registry(func(o *registry.Options) { o.Mask = mask })
	ctx := t.Context()
	id, err := g.Start(ctx, "x", map[string]any{"api_key": "canary-config", "n": "canary-setting"},
		registry.Argv([]string{"quant", "x", "--token", "canary-argv"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Configure(ctx, id, map[string]any{"url": "https://u:canary-url@h/"}, metastore.Batch{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Fail(ctx, id, errors.New("canary-argv at https://h/?apikey=canary-error and canary-setting")); err != nil {
		t.Fatal(err)
	}
	row, err := json.Marshal(l.get(id))
	if err != nil || strings.Contains(string(row), "canary") {
		t.Errorf("stored: %s, %v", row, err)
	}
}

// abandon records a run as a process that is gone would have left it: the lock
// file is there, nobody holds it.
func (l *lab) abandon(p liveness.Process, readsOnly bool) string {
	l.t.Helper()
	var options []registry.StartOption
	if readsOnly {
		options = append(options, registry.ReadsOnly())
	}
	g := l.registry(func(o *registry.Options) { o.Process = &p })
	id, err := g.Start(l.t.Context(), "ingest", nil, options...)
	if err != nil {
		l.t.Fatal(err)
	}
	g.Close()
	if err := os.WriteFile(filepath.Join(l.live, id), nil, 0o600); err != nil {
		l.t.Fatal(err)
	}
	return id
}

func TestADeadRunBecomesFailAndALiveOneIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	me := *liveness.ThisProcess()
	dead := l.abandon(me, false)    // this very pid, boot and start: a recycled pid cannot look more alive
	deadRead := l.abandon(me, true) //
	boot := me
	boot.BootID = "another-boot"
	rebooted := l.abandon(boot, false)
	other := me
	other.MachineID = "another-machine"
	elsewhere := l.abandon(other, false)
	g := l.registry(func(o *registry.Options) {
		o.Now = func() time.Time { return time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) } // a clock set back
		o.Facts = func(_ context.Context, ids []string) (map[string]bool, error) {
			if len(ids) != 2 {
				t.Errorf("asked about %v", ids)
			}
			return map[string]bool{dead: true}, nil
		}
	})
	alive, err := g.Start(t.Context(), "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := g.Reconcile(t.Context())
	if closed := done.Closed; err != nil || len(closed) != 3 || done.Left != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for id, want := range map[string]quant.Facts{dead: quant.FactsCommitted, deadRead: quant.FactsNone, rebooted: quant.FactsNone} {
		if row := l.get(id); row.Status != quant.Fail || string(row.ErrorText) != registry.WithFacts("process ended without finishing", want) || row.Process.Facts != want || row.Process.ExitCode != nil {
			t.Errorf("%s: %s %q", id, row.Status, row.ErrorText)
		}
	}
	for _, id := range []string{alive, elsewhere} {
		if row := l.get(id); row.Status != quant.Running {
			t.Errorf("%s: %s", id, row.Status)
		}
	}
	if g.Judge(t.Context(), l.get(elsewhere)) != liveness.Unjudged || g.Judge(t.Context(), l.get(alive)) != liveness.Alive {
		t.Error("judged wrongly")
	}
	if done, err := g.Reconcile(t.Context()); err != nil || len(done.Closed) != 0 {
		t.Errorf("again: %v, %v", done, err)
	}
}

func TestFactsThatCannotBeLookedAtAreSaidNotToBeChecked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	id := l.abandon(*liveness.ThisProcess(), false)
	g := l.registry(func(o *registry.Options) {
		o.Facts = func(context.Context, []string) (map[string]bool, error) {
			return nil, quant.Errorf(quant.Locked, "held")
		}
	})
	if _, err := g.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := l.get(id); got.ErrorText != "process ended without finishing; facts not checked" || got.Process.Facts != quant.FactsNotChecked {
		t.Errorf("%q, %q", got.ErrorText, got.Process.Facts)
	}
}

// leases are a liveness that needs no machine: whoever holds a name lives.
type leases struct{ held map[string]bool }

func (l *leases) Hold(_ context.Context, runID string) (string, error) {
	l.held["lease of "+runID] = true
	return "lease of " + runID, nil
}

func (l *leases) Judge(_ context.Context, p quant.RunProcess) liveness.Life {
	if l.held[string(p.LiveLock)] {
		return liveness.Alive
	}
	return liveness.Dead
}

func (l *leases) Sweep(context.Context) {}
func (l *leases) Release()              { clear(l.held) }

func TestAnotherLivenessDecidesWhoIsReconciled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(func(o *registry.Options) { o.Liveness = &leases{map[string]bool{}} })
	id, err := g.Start(t.Context(), "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := g.Reconcile(t.Context()); err != nil || len(done.Closed) != 0 || g.Judge(t.Context(), l.get(id)) != liveness.Alive {
		t.Errorf("while the lease is held: %v, %v", done, err)
	}
	g.Close()
	if done, err := g.Reconcile(t.Context()); err != nil || len(done.Closed) != 1 || l.get(id).Status != quant.Fail {
		t.Errorf("after it: %v, %v", done, err)
	}
}

func TestWhereTheLockFileIsGoneTheProcessItselfDecides(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	me := *liveness.ThisProcess()
	recycled := me
	recycled.Start = "1" // this pid, but started at another time
	boot := me
	boot.BootID = "another-boot"
	gone := me
	gone.PID = 1 << 30
	g := l.registry(nil)
	for name, tc := range map[string]struct {
		process liveness.Process
		want    liveness.Life
	}{
		"the same process": {me, liveness.Alive}, "a recycled pid": {recycled, liveness.Dead},
		"another boot": {boot, liveness.Dead}, "no such pid": {gone, liveness.Dead},
	} {
		id := l.abandon(tc.process, false)
		if err := os.Remove(filepath.Join(l.live, id)); err != nil {
			t.Fatal(err)
		}
		if got := g.Judge(t.Context(), l.get(id)); got != tc.want {
			t.Errorf("%s: judged %v, want %v", name, got, tc.want)
		}
	}
}

func TestAnOrphanedLockFileIsSweptAndAHeldOneIsNot(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if err := os.MkdirAll(l.live, 0o700); err != nil {
		t.Fatal(err)
	}
	orphan, held := filepath.Join(l.live, "orphan"), filepath.Join(l.live, "held")
	for _, path := range []string{orphan, held} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(held)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := l.registry(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("orphan: %v", err)
	}
	if _, err := os.Stat(held); err != nil {
		t.Errorf("held: %v", err)
	}
}

func TestARunIsNamedByIdPrefixSuffixOrLast(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	ctx := t.Context()
	var ids []string
	for range 3 {
		id, err := g.Start(ctx, "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	reading, err := g.Start(ctx, "config", nil, registry.ReadsOnly())
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		ids[0]: ids[0], strings.ReplaceAll(ids[1], "-", ""): ids[1], ids[1][len(ids[1])-8:]: ids[1], strings.ToUpper(ids[2][24:]): ids[2], "last": ids[2], reading[9:]: reading,
	} {
		if got, err := registry.Resolve(ctx, l.store, ref, reading); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", ref, got, err, want)
		}
	}
	if got, err := registry.Resolve(ctx, l.store, "last", ids[2]); err != nil || got != ids[1] {
		t.Errorf("last but the present one: %q, %v", got, err)
	}
	for ref, want := range map[string]quant.Code{
		ids[0][:8]: quant.Invalid, "ffffffff-ffff": quant.NotFound, "xyz": quant.Invalid, "": quant.Invalid, "%": quant.Invalid,
	} {
		if _, err := registry.Resolve(ctx, l.store, ref, ""); quant.CodeOf(err) != want {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func FuzzResolve(f *testing.F) {
	dir := f.TempDir()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "meta.db")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	g := registry.New(registry.Options{Store: store, Liveness: liveness.NewLocks(filepath.Join(dir, "live"), nil)})
	id, err := g.Start(context.Background(), "x", nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{id, id[:9], id[30:], "last", "", "%", "' or 1=1 --", "_", "*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		got, err := registry.Resolve(context.Background(), store, ref, "")
		if err != nil {
			return
		}
		low := strings.ToLower(strings.TrimSpace(ref))
		if got != id || ref != "last" && !strings.HasPrefix(id, low) && (len(low) < 4 || !strings.HasSuffix(id, low)) {
			t.Errorf("%q names %q", ref, got)
		}
	})
}

func TestATableOfAFeatureIsNotTakenForADSN(t *testing.T) {
	t.Parallel()
	mask := &secret.Masker{}
	mask.Know("s3cr3t-v4lue")
	g := registry.New(registry.Options{Mask: mask})
	got := g.Storable([]quant.RunIO{
		{RunID: "r", Direction: quant.In, Kind: "table", Name: "features_daily:ret_20d@v1"},
		{RunID: "r", Direction: quant.In, Kind: "table", Name: "features_daily:s3cr3t-v4lue@v1"},
		{RunID: "r", Direction: quant.In, Kind: "file", Name: "u:password@host"},
	})
	if got[0].Name != "features_daily:ret_20d@v1" || got[1].Name != "features_daily:***@v1" || got[2].Name != "***@host" {
		t.Errorf("%+v", got)
	}
}

func TestARunIsNamedByItsKindAndByItsName(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, g := t.Context(), l.registry(nil)
	var ids []string
	for i, kind := range []string{"backtest", "config", "ingest"} {
		options := []registry.StartOption{}
		if kind == "config" {
			options = append(options, registry.ReadsOnly())
		}
		err := g.Track(ctx, kind, nil, func(_ context.Context, run *registry.Run) error {
			ids = append(ids, run.ID)
			if i < 2 {
				run.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.NameTag, Value: "내 run"}}})
			}
			return nil
		}, options...)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ ref, self, want string }{
		{"last", "", ids[2]}, {"last:backtest", "", ids[0]}, {"last:config", "", ids[1]},
		{"@내 run", "", ids[1]}, {"@내 run", ids[1], ids[0]},
	} {
		if got, err := registry.Resolve(ctx, l.store, c.ref, c.self); got != c.want || err != nil {
			t.Errorf("%s: %s %v, want %s", c.ref, got, err, c.want)
		}
	}
	for _, ref := range []string{"last:", "last:nothing", "@", "@nobody", "last:' OR 1=1 --"} {
		if got, err := registry.Resolve(ctx, l.store, ref, ""); !errors.Is(err, quant.NotFound) {
			t.Errorf("%s: %s %v", ref, got, err)
		}
	}
}

func TestWhatARunLogsIsStoredWithItsEndAndMasked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	mask := &secret.Masker{}
	mask.Know("s3cr3t-value")
	g := l.registry(func(o *registry.Options) { o.Mask = mask })
	var id string
	err := g.Track(ctx, "train", nil, func(ctx context.Context, run *registry.Run) error {
		id = run.ID
		run.Log(metastore.Batch{
			Params: []quant.Param{{Name: "api_key", Value: "hunter2"}, {Name: "note", Value: "has s3cr3t-value in it"}},
			Notes:  []quant.Note{{Text: "s3cr3t-value"}},
		})
		if list, _ := l.store.Params(ctx, id); len(list) != 0 {
			t.Error(list)
		}
		return g.Log(ctx, id, metastore.Batch{Metrics: []quant.MetricPoint{{Name: "loss", Step: 0, Value: 1}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	params, err := l.store.Params(ctx, id)
	if err != nil || len(params) != 2 || params[0].Value != "***" || params[1].Value != "has *** in it" {
		t.Error(params, err)
	}
	if notes, err := l.store.Notes(ctx, id); err != nil || len(notes) != 1 || notes[0].Text != "***" || notes[0].LoggedAt.IsZero() {
		t.Error(notes, err)
	}
	if points, err := l.store.MetricPoints(ctx, id, "loss", 0); err != nil || len(points) != 1 || points[0].LoggedAt.IsZero() {
		t.Error(points, err)
	}
}

func TestARecordThatIsRefusedKeepsNoRunOpen(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := l.registry(nil)
	var id string
	err := g.Track(t.Context(), "train", nil, func(_ context.Context, run *registry.Run) error {
		id = run.ID
		run.Log(metastore.Batch{Params: []quant.Param{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}})
		return nil
	})
	if err != nil || l.get(id).Status != quant.Success {
		t.Error(err, l.get(id))
	}
	if notes, _ := l.store.Notes(t.Context(), id); len(notes) != 1 || !strings.Contains(notes[0].Text, `param "a"`) {
		t.Error(notes)
	}
}

func TestOnlyTheProcessOfARunClosesItAsCrashed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	me := *liveness.ThisProcess()
	g := l.registry(nil)
	for name, change := range map[string]func(*liveness.Process){
		"machine": func(p *liveness.Process) { p.MachineID = "another-machine" },
		"boot":    func(p *liveness.Process) { p.BootID = "another-boot" },
		"pid":     func(p *liveness.Process) { p.PID++ },
		"start":   func(p *liveness.Process) { p.Start += "1" },
	} {
		other := me
		change(&other)
		of := l.registry(func(o *registry.Options) { o.Process = &other })
		id, err := of.Start(t.Context(), "ingest", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer of.Close()
		if _, err := g.Crashed(t.Context(), id, "text"); !errors.Is(err, quant.Conflict) || errors.Is(err, registry.ErrFinished) {
			t.Errorf("%s: %v", name, err)
		}
		if row := l.get(id); row.Status != quant.Running {
			t.Errorf("%s: %s %q", name, row.Status, row.ErrorText)
		}
	}
	mine, err := l.registry(nil).Start(t.Context(), "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Crashed(t.Context(), mine, "text"); err != nil || l.get(mine).Status != quant.Fail {
		t.Errorf("its own run: %v", err)
	}
}
