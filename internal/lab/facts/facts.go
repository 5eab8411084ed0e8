// Package facts opens the Fact DB of a lab: late, for as short as can be, waiting
// for whoever holds it. It writes no facts itself.
package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/process"
	"quant/internal/sandbox"
)

// SchemaVersion is that of the Fact DBs that this program works with.
const SchemaVersion = factstore.SchemaVersion

// WayBack is what to do about a Fact DB in a file that is damaged.
const WayBack = factstore.WayBack

// EngineVersion is the version of the engine of Fact DBs.
const EngineVersion = factstore.EngineVersion

// Committed tells, without waiting, which runs have committed facts to the Fact
// DB of a lab.
func Committed(at place.Place) func(ctx context.Context, runIDs []string) (map[string]bool, error) {
	return func(ctx context.Context, ids []string) (committed map[string]bool, err error) {
		if shared, ok := sharing.Load(at.FactPath); ok && len(ids) > 0 {
			err = shared.(*Shared).read(ctx, soon, func(db *factstore.DB) (err error) {
				committed, err = db.CommittedOf(ctx, ids)
				return err
			})
			if !errors.Is(err, factstore.ErrMissing) {
				return committed, err
			}
		}
		return factstore.CommittedRuns(ctx, where(at), ids)
	}
}

// where are the options that say where the facts are.
func where(at place.Place) factstore.Options {
	return factstore.Options{Path: at.FactPath, URL: at.FactsURL, Extensions: at.Extensions, Cloud: at.Cloud, TempDir: at.SpillDir()}
}

// soon is how long a read that does not wait for writers waits for its turn.
const soon = 100 * time.Millisecond

// Store opens the Fact DB of a lab for one run. It is for one goroutine at a time.
type Store struct {
	Lab  *lab.Lab
	Self string        // the run that works with it; "": none is recorded
	Wait time.Duration // for a lock; 0: not at all
	// Memory is the limit of the engine in bytes; 0: factstore.DefaultMemory.
	Memory int64
	// Waiting is told why an opening takes its time, in words: another process holds
	// the Fact DB (they name its run), or an older schema is changed; nil: nobody is.
	Waiting func(text string)
	// Shared is the opening that this process reads through; nil: each read opens the
	// Fact DB for itself.
	Shared *Shared
	// Near: what is read of a lake in a bucket is kept on this machine, for those who read
	// the same.
	Near bool

	mu      sync.Mutex
	commit  factstore.Commit
	writing *factstore.DB // open for writing; nil: none is

	snapshots []quant.RunIO // of a lake, each once
}

// Snapshot is one of a lake. The zero value is the newest.
type Snapshot struct {
	ID   int64
	Lake string // which lake it is of: see factstore.Snapshots; "": that of the lab
}

// Attachment is how a query process comes to the facts of a lab that are on a lake, as
// they stand in a snapshot; nil where they are in a file. Errors are those of
// factstore.OpenRead; NotFound: the snapshot is not kept, or is of another lake;
// Refused: a file has none.
func (s *Store) Attachment(ctx context.Context, snapshot Snapshot) (*sandbox.Attachment, error) {
	if s.Lab.FactsURL == "" {
		if snapshot.ID != 0 {
			return nil, quant.Errorf(quant.Refused, "facts in a file have no snapshots").WithHint("`quant data prices --as-of RUN` reads earlier prices")
		}
		return nil, nil
	}
	o := where(s.Lab.Place)
	o.Snapshot, o.SnapshotOf, o.Know = snapshot.ID, snapshot.Lake, s.Lab.Mask.Know
	r, err := factstore.LakeReading(ctx, o)
	if err != nil {
		return nil, err
	}
	s.noteSnapshot(quant.In, r.Lake, r.Snapshot)
	return &sandbox.Attachment{Statements: r.Statements, Folder: r.Folder}, nil
}

// SnapshotOf is the snapshot of the lake that a run left behind, or, if it committed
// none, the one that it read last. NotFound: its record names none.
func (s *Store) SnapshotOf(ctx context.Context, runID string) (Snapshot, error) {
	meta, err := s.Lab.MetaDB()
	if err != nil {
		return Snapshot{}, err
	}
	list, err := meta.RunIO(ctx, runID)
	if err != nil {
		return Snapshot{}, err
	}
	newest := map[quant.Direction]Snapshot{}
	for _, io := range list {
		if id, err := strconv.ParseInt(io.Name, 10, 64); err == nil && io.Kind == quant.IOSnapshot && id > newest[io.Direction].ID {
			newest[io.Direction] = Snapshot{ID: id, Lake: string(io.Digest)}
		}
	}
	if found := cmp.Or(newest[quant.Out], newest[quant.In]); found.ID != 0 {
		return found, nil
	}
	return Snapshot{}, quant.Errorf(quant.NotFound, "run %s names no snapshot of a lake", quant.ShortID(runID)).WithHint("`quant runs show` lists what a run read and wrote; `quant data prices --as-of RUN` reads earlier prices of any run")
}

// CompactOptions say how the lake of a lab is compacted.
type CompactOptions struct {
	Grace  time.Duration // replaced files stay so long, for who still reads them without a run
	Expire time.Duration // snapshots that no run refers to are forgotten that long after the next one; 0: none is
	DryRun bool
}

// Compacted is what compacting did.
type Compacted = factstore.Compacted

// Compact merges the small files of the lake, and expires snapshots that no run of the
// Meta DB refers to. What was replaced since the oldest open run began stays. Errors are
// those of factstore.DB.Compact and OpenWrite.
func (s *Store) Compact(ctx context.Context, o CompactOptions) (done Compacted, err error) {
	if s.Lab.FactsURL == "" {
		return done, quant.Errorf(quant.Refused, "only facts on DuckLake lie in many files, and those of this lab are in one").WithHint("there is nothing to compact")
	}
	of, begun := factstore.CompactOptions{Replaced: o.Grace, Expire: o.Expire, DryRun: o.DryRun}, time.Now()
	err = s.Write(ctx, func(db *factstore.DB) (err error) {
		if of.Keep, of.Since, err = s.inUse(ctx, begun); err != nil {
			return err
		}
		done, err = db.Compact(ctx, of)
		return err
	})
	return done, err
}

// standing are commands that run for days and read the newest snapshot in each
// statement, or nothing.
var standing = []string{"serve", "worker"}

// inUse are the snapshots that runs refer to, and how long ago the oldest run that is not
// closed began, with some room: it will refer to what it reads only as it ends. 0: there is
// none. begun is a moment soon after this run began.
func (s *Store) inUse(ctx context.Context, begun time.Time) (list []int64, since time.Duration, err error) {
	meta, err := s.Lab.MetaDB()
	if err != nil {
		return nil, 0, err
	}
	// The open runs are asked for first: who ends in between is among the names.
	open, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Except: s.Self, Brief: true})
	if err != nil {
		return nil, 0, err
	}
	for _, run := range open {
		if slices.Contains(standing, run.Kind) {
			continue
		}
		// Both starts are by the clock of the Meta DB, which is not that of the lake.
		self, err := meta.GetRun(ctx, s.Self)
		if err != nil {
			return nil, 0, err
		}
		since = max(since, self.StartedAt.Sub(run.StartedAt.Time)+time.Since(begun)+time.Minute)
	}
	names, err := meta.IONames(ctx, quant.IOSnapshot)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range names {
		if id, err := strconv.ParseInt(name, 10, 64); err == nil {
			list = append(list, id)
		}
	}
	return list, since, nil
}

// Options are the options of every opening.
func (s *Store) Options(ctx context.Context) factstore.Options {
	o := where(s.Lab.Place)
	o.Wait, o.Now, o.MemoryLimit, o.Know = s.Wait, s.Lab.Now, s.Memory, s.Lab.Mask.Know
	if s.Near {
		o.Near = s.Lab.NearDir()
	}
	if s.Lab.Registry != nil {
		o.Fence = s.Lab.Registry.Fence
	}
	if s.Waiting != nil {
		o.Waiting = func(w factstore.Wait) {
			s.Waiting(fmt.Sprintf("waiting for the Fact DB %s, held by %s (%s so far, --wait %s)", w.Path, s.Holder(ctx, w.PID, w.Program), w.Waited.Round(time.Second), s.Wait))
		}
		o.Upgrading = func(from, to int) {
			s.Waiting(fmt.Sprintf("bringing the Fact DB %s from schema %d to %d; with many features that takes a minute", o.Path, from, to))
		}
	}
	return o
}

// Holder names the run behind the process that holds the Fact DB, with its
// program's name where that is known and no run is found.
func (s *Store) Holder(ctx context.Context, pid int, program string) string {
	holder := fmt.Sprintf("process %d", pid)
	if program != "" {
		holder += " (" + program + ")"
	}
	if s.Lab.Meta == nil {
		return holder
	}
	running, err := s.Lab.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running})
	if err != nil {
		return holder
	}
	// A query runs in a child of the process that is the run.
	parent := process.ParentOf(pid)
	for _, run := range running {
		if (run.Process.PID == int64(pid) || parent != 0 && run.Process.PID == int64(parent)) && run.RunID != s.Self {
			return fmt.Sprintf("run %s (%s), process %d", quant.ShortID(run.RunID), run.Kind, pid)
		}
	}
	return holder
}

// Exists reports whether there is a file where the Fact DB should be; of a lake, which
// only opening tells, it is taken for granted.
func (s *Store) Exists() bool {
	if s.Lab.FactsURL != "" {
		return true
	}
	_, err := os.Stat(s.Lab.FactPath)
	return err == nil
}

// Read runs fn with the Fact DB open for reading.
func (s *Store) Read(ctx context.Context, fn func(db *factstore.DB) error) error {
	if s.Shared != nil {
		return s.Shared.Read(ctx, fn)
	}
	db, err := factstore.OpenRead(ctx, s.Options(ctx))
	if err != nil {
		return err
	}
	defer db.Close()
	defer s.noteSnapshots(db)
	return explained(db, fn(db))
}

// noteSnapshots keeps which snapshots of a lake an opening had to do with.
func (s *Store) noteSnapshots(db *factstore.DB) {
	of := db.Snapshots()
	if of.Read > 0 {
		s.noteSnapshot(quant.In, of.Lake, of.Read)
	}
	for _, id := range of.Written {
		s.noteSnapshot(quant.Out, of.Lake, id)
	}
}

func (s *Store) noteSnapshot(direction quant.Direction, lake string, id int64) {
	io := quant.RunIO{Direction: direction, Kind: quant.IOSnapshot, Name: strconv.FormatInt(id, 10), Digest: quant.Text(lake)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.snapshots, io) {
		s.snapshots = append(s.snapshots, io)
	}
}

// Snapshots are those of a lake that were read and committed so far, as the run records
// them. Reads through Shared, each of which sees the newest, are not among them.
func (s *Store) Snapshots() []quant.RunIO {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.snapshots)
}

// AddSnapshots counts snapshots of another Store, which worked for the same run.
func (s *Store) AddSnapshots(of *Store) {
	for _, io := range of.Snapshots() {
		s.mu.Lock()
		if !slices.Contains(s.snapshots, io) {
			s.snapshots = append(s.snapshots, io)
		}
		s.mu.Unlock()
	}
}

// explained says of work that did not fit into the engine's memory what would help.
func explained(db *factstore.DB, err error) error {
	if !factstore.OutOfMemory(err) {
		return err
	}
	return &quant.Error{Code: quant.Failed, Err: err, Msg: "the Fact DB needs more memory than the " + quant.Bytes(db.Memory()) + " that it may take",
		Hint: "set QUANT_MEMORY_LIMIT (or --memory-limit) higher, such as " + quant.FormatBytes(max(2<<30, 2*(db.Memory()>>30)<<30)) + ", or ask for fewer symbols or days"}
}

// Write runs fn with the Fact DB open for writing, made or brought up to date
// where needed.
func (s *Store) Write(ctx context.Context, fn func(db *factstore.DB) error) error {
	return s.write(ctx, s.Options(ctx), fn)
}

// WriteLate is Write for what computes long before it commits, in one transaction: on a
// lake others may write meanwhile. If one did, nothing was committed, and fn runs a second
// time, with the lock of Write. It must begin anew then.
func (s *Store) WriteLate(ctx context.Context, fn func(db *factstore.DB) error) error {
	if s.Lab.FactsURL == "" {
		return s.Write(ctx, fn)
	}
	o := s.Options(ctx)
	o.Late = true
	before := s.Committed()
	err := s.write(ctx, o, fn)
	if !errors.Is(err, factstore.ErrOvertaken) || s.Committed() != before {
		return err
	}
	if s.Waiting != nil {
		s.Waiting("another process has written meanwhile: beginning anew, while others wait")
	}
	return s.Write(ctx, fn)
}

func (s *Store) write(ctx context.Context, o factstore.Options, fn func(db *factstore.DB) error) (err error) {
	if s.Shared != nil {
		resume, err := s.Shared.Aside(ctx)
		if err != nil {
			return err
		}
		defer resume()
	}
	db, err := factstore.OpenWrite(ctx, o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.writing = db
	s.mu.Unlock()
	defer func() {
		s.noteSnapshots(db)
		s.mu.Lock()
		if state := db.State(); state != factstore.NoneCommitted {
			s.commit = state
		}
		s.writing = nil
		s.mu.Unlock()
		if closing := db.Close(); err == nil {
			err = closing
		}
	}()
	return explained(db, fn(db))
}

// Naming tells which of these runs the tables of the Fact DB name, and which tables
// do; nil where there is no Fact DB.
func (s *Store) Naming(ctx context.Context, runIDs []string) (tables map[string][]string, err error) {
	if !s.Exists() {
		return nil, nil
	}
	err = s.Read(ctx, func(db *factstore.DB) (err error) {
		tables, err = db.NamingRuns(ctx, runIDs)
		return err
	})
	return tables, err
}

// Made is a Fact DB that stands there, up to date.
type Made struct {
	Change lab.Change
	Tables []metastore.TableCount
}

// Make makes the Fact DB where it is missing, brings it up to date, and counts what
// it holds.
func (s *Store) Make(ctx context.Context) (made Made, err error) {
	err = s.Write(ctx, func(db *factstore.DB) error {
		switch {
		case db.Created():
			made.Change = lab.Created
		case db.Upgraded():
			made.Change = lab.Upgraded
		default:
			made.Change = lab.Unchanged
		}
		tables, err := db.Tables(ctx)
		for _, t := range tables {
			made.Tables = append(made.Tables, metastore.TableCount(t))
		}
		return err
	})
	return made, err
}

// Committed is what became of the facts that were written.
//
// While facts are written it says what is known by then. It may be called from any
// goroutine.
func (s *Store) Committed() factstore.Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing != nil {
		if state := s.writing.State(); state != factstore.NoneCommitted {
			return state
		}
	}
	return s.commit
}

// Became says what became of facts that were written for this run elsewhere.
func (s *Store) Became(c factstore.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit = c
}

// Ledger is what the ledger says of a run, without waiting for the Fact DB; never
// nil without an error.
func (s *Store) Ledger(ctx context.Context, runID string) (rows []factstore.LedgerRow, err error) {
	now := Store{Lab: s.Lab, Memory: s.Memory}
	read := now.Read
	if s.Shared != nil {
		read = func(ctx context.Context, fn func(db *factstore.DB) error) error { return s.Shared.read(ctx, soon, fn) }
	}
	err = read(ctx, func(db *factstore.DB) (err error) {
		rows, err = db.Ledger(ctx, runID)
		return err
	})
	if rows == nil && err == nil {
		rows = []factstore.LedgerRow{}
	}
	return rows, err
}

// Yielding runs fn, which lets another process read the Fact DB: through Shared where
// there is one (see Shared.Yielding), else as it is.
func (s *Store) Yielding(ctx context.Context, fn func(ctx context.Context) error) error {
	if s.Shared != nil {
		return s.Shared.Yielding(ctx, fn)
	}
	return fn(ctx)
}
