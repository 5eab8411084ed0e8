// Package lab is the lab: where everything of it lies, opening and closing it, the
// claim on it, putting another in its place, and what lies in it that nothing
// refers to. Every face (the command line, package runlog, and what comes) opens a
// lab here. It links no Fact DB: that is package facts, below it.
package lab

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/objectstore"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/secret"
)

// Options say which lab, and who opens it.
type Options struct {
	place.Place
	Now  func() time.Time // nil: time.Now
	Mask *secret.Masker   // of what is stored; nil: the rules that need no values
	// BinaryVersion and BinaryCommit describe the program in the runs' records.
	BinaryVersion, BinaryCommit string
	// Facts tells, without waiting, which runs have committed facts; nil: dead runs
	// are closed with the facts not checked.
	Facts func(ctx context.Context, runIDs []string) (map[string]bool, error)
	// FactsShared: Facts knows those of all machines that share the Meta DB.
	FactsShared bool
	// Prepare makes, in an empty database of a server, what a Meta DB needs, and brings
	// an older one up to date. A Meta DB in a file is made and brought up to date by
	// whoever opens it.
	Prepare bool
	// Patience is how long a Meta DB whose server is away is waited for when the lab is
	// opened, and again by each method that stores something; 0: not at all. Waiting is told,
	// in words, that it is waited for; nil: nobody is.
	Patience time.Duration
	Waiting  func(text string)
}

// Patience is how long a server that is away is waited for where nothing else is said.
const Patience = 30 * time.Second

// Lab is a lab. New makes one that is not open: then Meta and Registry are nil.
// Open and Close are called from one goroutine; between them it may be used from
// several.
type Lab struct {
	Options

	// Meta is the open Meta DB; nil when it cannot be used, and then MetaErr says
	// why.
	Meta    metastore.Store
	MetaErr error
	// Registry records runs; nil when Meta is, or is open for reading only.
	Registry *registry.Registry
	Opening  Opening

	store   metastore.Store
	claim   *Claim
	clock   *serverClock // nil: this machine's
	objects func() artifact.Store
}

// Change is what an opening did to the Meta DB.
type Change string

// The changes.
const (
	Unchanged Change = "unchanged"
	Created   Change = "created"
	Upgraded  Change = "upgraded"
)

// Opening is what the opening of a lab found and did.
type Opening struct {
	Meta     Change
	From, To int    // schemas, if it was upgraded
	Backup   string // the copy that was taken before
	// MovedAside is where a Meta DB that could not be used was put, Damage why, and
	// Salvaged what could be taken over from it.
	MovedAside string
	Damage     error
	Salvaged   Taken
	// Unsalvaged are, of a Meta DB that was made because none stood there, those
	// that were moved aside from its place and hold what it does not.
	Unsalvaged []string
}

// New names a lab; it touches nothing.
func New(o Options) *Lab {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Mask == nil {
		o.Mask = &secret.Masker{}
	}
	l := &Lab{Options: o}
	l.objects = sync.OnceValue(l.openObjects)
	return l
}

// Open makes the data folder and the Meta DB where they are missing, claims the
// lab and opens it. With remedy, a Meta DB that is damaged is replaced as by
// SetAside. Errors: Store, also marked ErrNewer, ErrDamaged or ErrSchema; Locked.
func (l *Lab) Open(ctx context.Context, remedy bool) error {
	if l.MetaURL != "" {
		return l.openServer(ctx)
	}
	if err := l.take(ctx); err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, l.options(false))
	if remedy && errors.Is(err, metastore.ErrDamaged) {
		return l.SetAside(ctx, err)
	}
	if err != nil {
		return err
	}
	if remedy {
		if damage := store.Damage(ctx); damage != nil {
			store.Close()
			if !errors.Is(damage, metastore.ErrDamaged) {
				return damage
			}
			return l.SetAside(ctx, damage)
		}
	}
	l.use(store)
	l.Opening = Opening{Meta: Unchanged}
	if store.Created() {
		l.Opening.Meta = Created
		l.KeepReserve()
		if old, err := l.Unsalvaged(); err == nil {
			for _, a := range old {
				l.Opening.Unsalvaged = append(l.Opening.Unsalvaged, a.Path)
			}
		}
	} else if from, to, backup := store.Migrated(); from != to {
		l.Opening = Opening{Meta: Upgraded, From: from, To: to, Backup: backup}
	}
	return nil
}

// take makes the data folder where it is missing, and claims the lab.
func (l *Lab) take(ctx context.Context) error {
	if err := os.MkdirAll(l.DataDir, 0o700); err != nil {
		return quant.Errorf(quant.Store, "make the data folder: %w", err).WithHint("choose another with --data-dir")
	}
	if l.claim != nil {
		return nil
	}
	claim, err := Use(ctx, place.Real(l.MetaPath))
	l.claim = claim
	return err
}

// OpenReadOnly opens the Meta DB alone, for reading: there is no Registry.
func (l *Lab) OpenReadOnly(ctx context.Context) error {
	if l.MetaURL != "" {
		return l.openServerReadOnly(ctx)
	}
	store, err := sqlite.Open(ctx, l.options(true))
	if err != nil {
		return err
	}
	l.store, l.Meta = store, store
	return nil
}

// Remediable reports whether SetAside is the remedy of an error.
func Remediable(err error) bool {
	return errors.Is(err, metastore.ErrDamaged) || errors.Is(err, metastore.ErrSchema)
}

// IsOlder reports whether a Meta DB cannot be read because it would have to be
// brought up to date first, and may not be written.
func IsOlder(err error) bool { return errors.Is(err, metastore.ErrOlder) }

// IsAway reports whether a Meta DB cannot be used because its server was away for as long as
// that was waited for.
func IsAway(err error) bool { return errors.Is(err, metastore.ErrAway) }

// IsNewer reports whether a Meta DB was refused because a newer program made it.
func IsNewer(err error) bool { return errors.Is(err, metastore.ErrNewer) }

// Peek opens a Meta DB for one short look, for reading only, and leaves nothing
// behind. Locked when it is not free at once.
func Peek(ctx context.Context, at place.Place) (metastore.Store, error) {
	if at.MetaURL != "" {
		return peekServer(ctx, at.MetaURL)
	}
	return sqlite.Open(ctx, sqlite.Options{Path: at.MetaPath, ReadOnly: true, Fleeting: true, Wait: 100 * time.Millisecond})
}

// EngineVersion is the version of the Meta DB's engine.
func EngineVersion() string { return sqlite.EngineVersion() }

func (l *Lab) options(readOnly bool) sqlite.Options {
	return sqlite.Options{Path: l.MetaPath, ReadOnly: readOnly, Now: l.Now, BackupDir: place.BackupDir(l.MetaPath)}
}

func (l *Lab) use(store metastore.Store) {
	l.store, l.Meta = store, store
	process := liveness.ThisProcess()
	locks := liveness.NewLocks(l.LiveDir(), process)
	var alive registry.Liveness = locks
	if leases, ok := store.(metastore.Leases); ok {
		alive = liveness.NewLeases(leases, locks, process, l.clock.told)
	}
	l.Registry = registry.New(registry.Options{
		Store: store, Liveness: alive, Process: process, Mask: l.Mask, Now: l.Now, AskGit: true,
		BinaryVersion: l.BinaryVersion, BinaryCommit: l.BinaryCommit, Facts: l.Facts, FactsShared: l.FactsShared,
	})
}

// MetaDB returns the open Meta DB, or the error that says why there is none.
func (l *Lab) MetaDB() (metastore.Store, error) {
	if l.Meta == nil {
		return nil, l.MetaErr
	}
	return l.Meta, nil
}

// Artifacts is where the contents of artifacts are.
func (l *Lab) Artifacts() artifact.Store { return l.objects() }

// openObjects says where the contents of artifacts are, and touches nothing.
func (l *Lab) openObjects() artifact.Store {
	at, err := l.Objects()
	here := artifact.Store{Dir: l.ArtifactDir()}
	if err != nil || at == (place.Objects{}) {
		return here // the settings have refused what is no place
	}
	here.Shared = &artifact.Shared{Lab: l.identity, Now: func() time.Time { return l.Now() }}
	if at.Folder != "" {
		here.Dir = artifact.SharedIn(at.Folder)
		return here
	}
	here.Shared.Bucket = objectstore.New(objectstore.Options{At: at.S3, Cloud: l.Cloud, Know: l.Mask.Know})
	return here
}

// identity tells this lab from any other: when its Meta DB was made.
func (l *Lab) identity(ctx context.Context) (string, error) {
	meta, err := l.MetaDB()
	if err != nil {
		return "", err
	}
	born, on := meta.(metastore.Born)
	if !on {
		return "", quant.Errorf(quant.Refused, "artifacts that machines share belong to a lab whose Meta DB is on a server").WithHint("set QUANT_META_URL, or leave QUANT_OBJECTS_URL unset")
	}
	return born.Born(ctx)
}

// OpenMeta opens another Meta DB, one that stands nowhere yet: no backup of it is
// kept when it is migrated.
func (l *Lab) OpenMeta(ctx context.Context, path string) (metastore.Store, error) {
	return sqlite.Open(ctx, sqlite.Options{Path: path, Now: l.Now, BackupDir: path + ".backups"})
}

// CopyMeta writes the Meta DB, as it stands at one moment, to a file that must not exist
// yet, whatever its engine. Errors are those of metastore.FileStore's Backup.
func (l *Lab) CopyMeta(ctx context.Context, path string) error {
	meta, err := l.MetaDB()
	if err != nil {
		return err
	}
	if file, ok := meta.(metastore.FileStore); ok {
		return file.Backup(ctx, path)
	}
	if _, err := os.Lstat(path); err == nil {
		return quant.Errorf(quant.Conflict, "copy meta db %s: %s exists already", l.ShownMeta(), path).WithHint("name a file that does not exist")
	}
	copied, err := sqlite.Open(ctx, sqlite.Options{Path: path, Now: l.Now})
	if err != nil {
		return err
	}
	if _, err := metastore.CopyWhole(ctx, meta, copied, metastore.CopyOptions{}); err != nil {
		return errors.Join(err, copied.Close())
	}
	err = copied.Seal(ctx)
	_ = os.Remove(path + ".lock")
	return err
}

// Replace closes the Meta DB, calls swap while no other process uses the lab
// (Locked if one does for longer than wait), and goes on with the Meta DB that
// stands there then, which has this process's runs.
func (l *Lab) Replace(ctx context.Context, wait time.Duration, swap func() error) error {
	if err := l.InFiles("replace the lab"); err != nil {
		return err
	}
	if l.claim == nil || l.Registry == nil {
		return quant.Errorf(quant.Store, "the lab of %s is not open for writing", l.MetaPath).WithHint("run quant doctor")
	}
	return l.claim.Alone(ctx, wait, func() error {
		if err := l.store.Close(); err != nil {
			return err
		}
		swapped := swap()
		store, err := sqlite.Open(ctx, l.options(false))
		if err != nil {
			l.MetaErr = err
			if swapped != nil {
				return swapped
			}
			return quant.Errorf(quant.CodeOf(err), "open the restored Meta DB: %w", err).WithHint("%s", quant.HintOf(err))
		}
		l.store, l.Meta, l.Registry.Store = store, store, store
		return swapped
	})
}

// Close closes what is open and gives up the claim. Runs of this process that are
// still open stay RUNNING until another process finds them dead. Meta and Registry
// stay where they are: what is asked of them from then on is a Store error. A second
// Close does nothing.
func (l *Lab) Close() error {
	var err error
	if l.store != nil {
		if l.Registry != nil {
			l.Registry.Close()
		}
		err = l.store.Close()
	}
	l.claim.Release()
	l.store, l.claim = nil, nil
	return err
}
