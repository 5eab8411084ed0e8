// Package place says where everything of a lab lies. Each name on disk is spelled
// here, once; it opens nothing and decides nothing.
//
// What belongs to the runs of a Meta DB (liveness locks, contents of artifacts,
// what programs printed) stands beside its file, by its name, so that two labs
// that share a data folder never clear each other's. Where the Meta DB is a database
// on a server they stand in the data folder, by a name that is made of its URL.
// Models, plans and scratch folders stand in the data folder.
package place

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// The names in a data folder.
const (
	MetaDB = "meta.db"
	FactDB = "quant.duckdb"

	models  = "models"
	runs    = "runs"
	scratch = "tmp"
	backups = "backups"
	cache   = "cache"
	memory  = "files"
	near    = "lake"
	reports = "reports"
	plan    = "plan.json"
	parts   = "extensions"

	// Delistings is the file of the delistings and halts that the lab knows of.
	Delistings = "delistings.csv"
	// Universes is the file of the lists of members of universes.
	Universes = "universes.csv"
	// Schedules is the file of what is done again and again.
	Schedules = "schedules.json"
	// Calendar is the file of closures and extra sessions.
	Calendar = "calendar.csv"
)

// The endings of what stands beside a database.
const (
	live      = ".live"
	turn      = ".turn"
	artifacts = ".artifacts"
	targets   = ".targets"
	logs      = ".logs"
	reserve   = ".reserve"
	jobs      = ".jobs"
	outputs   = ".outputs"

	// Creating ends the name of a Meta DB that is being made, Building that of a
	// Fact DB.
	Creating = ".creating"
	Building = ".new"
	// Staging ends the name of what is to take a place in a restore or a remedy.
	Staging = ".restoring"
	// Aside begins the ending of what a restore moved out of its place; a time
	// follows.
	Aside = ".before-restore-"
	// Broken begins the ending of a database that was moved aside because it could
	// not be used; a time follows.
	Broken = ".broken-"
	// Salvaged ends the name of what says what was taken over from a Meta DB that
	// was moved aside.
	Salvaged = ".salvaged"
)

// The prefixes of scratch folders, which a process that is killed leaves behind.
const (
	Repetition = "repro-" // a copy of the lab in which a run is repeated
	Proof      = "proof-" // excerpts of the facts, on which a query for features is proved
	Checkout   = "rerun-" // a commit checked out to run a program again
	Training   = "train-" // what a program that trains a model is handed, and hands back
)

// KeptCheckout is the prefix of a checkout that is to stay.
const KeptCheckout = "code-"

// Place is where a lab lies. The paths are those of the settings: they need not
// be absolute, nor exist.
type Place struct {
	DataDir  string
	MetaPath string // on a server: no file, but the name of what stands beside the Meta DB
	FactPath string // on a lake: no file, but the name of what stands beside the facts
	MetaURL  string // of a Meta DB on a server, with what secrets it has; "": it is the file MetaPath
	FactsURL string // of facts on DuckLake, with what secrets it has; "": they are in the file FactPath
	// Extensions is the folder of the extensions of DuckDB that facts on DuckLake need.
	Extensions string
	// ObjectsURL says where the contents of artifacts and logs lie that all machines share;
	// "": in files of this machine. Cloud is what it, or the lake's data path, leaves out.
	ObjectsURL string
	Cloud      Cloud
}

// In is the place of a lab whose databases have their ordinary names in a data
// folder.
func In(dataDir string) Place {
	return Place{DataDir: dataDir, MetaPath: filepath.Join(dataDir, MetaDB), FactPath: filepath.Join(dataDir, FactDB)}
}

// ExtensionsDir is where extensions of DuckDB are looked for unless a setting says
// otherwise.
func ExtensionsDir(dataDir string) string { return filepath.Join(dataDir, parts) }

// Unsaid is what PostgreSQL's clients take for what a URL leaves out: PGHOST, PGPORT,
// PGDATABASE and PGSERVICE. "": they are not set.
type Unsaid struct{ Host, Port, Database, Service string }

// OnServer is the place with its Meta DB in the database of a URL. Databases that differ
// by what the URL leaves out have files of their own, too.
func (p Place) OnServer(metaURL string, unsaid Unsaid) Place {
	p.MetaURL, p.MetaPath = metaURL, filepath.Join(p.DataDir, serverName(metaURL, unsaid))
	return p
}

// ShownMeta is how the Meta DB is named to a person: its file, or its URL without a
// password.
func (p Place) ShownMeta() string {
	if p.MetaURL == "" {
		return p.MetaPath
	}
	u, err := url.Parse(p.MetaURL)
	if err != nil {
		return "the database of " + serverSetting
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String()
}

const serverSetting = "QUANT_META_URL"

// IsServerURL reports whether a text is the URL of a database on a server. What the
// standards of URLs and PostgreSQL's clients read differently is none.
func IsServerURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && u.Opaque == "" && u.Fragment == "" && strings.Count(authority(raw), "@") <= 1
}

// Passwords are the passwords in a URL, as they stand and decoded. One that holds an @
// as it stands is found in pieces, too: clients of PostgreSQL end it at the first, and
// take the rest for the host.
func Passwords(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	var found []string
	if password, set := u.User.Password(); set && password != "" {
		found = append(found, password)
		if strings.Count(authority(raw), "@") > 1 {
			for piece := range strings.SplitSeq(password, "@") {
				if len(piece) >= 4 { // not a part of other words
					found = append(found, piece)
				}
			}
		}
	}
	for _, name := range []string{"password", "sslpassword"} {
		if password := u.Query().Get(name); password != "" {
			found = append(found, password)
		}
	}
	return found
}

// authority is what stands between :// and the path of a URL: who logs in, and the host.
func authority(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// serverName is a name of a file for the database of a URL: that of the database, and
// a mark of the server. Who logs in, and how, is no part of it, and so nothing of a text
// that is no such URL: which of its words is a password cannot be told.
func serverName(raw string, unsaid Unsaid) string {
	if !IsServerURL(raw) {
		return "server"
	}
	u, _ := url.Parse(raw)
	q := u.Query()
	host, port, database := u.Hostname(), u.Port(), strings.Trim(u.Path, "/")
	for _, said := range []struct {
		into *string
		name string
	}{{&host, "host"}, {&port, "port"}, {&database, "dbname"}} {
		if v := q.Get(said.name); v != "" {
			*said.into = v
		}
	}
	key := []string{cmp.Or(host, unsaid.Host), cmp.Or(port, unsaid.Port, "5432"), cmp.Or(database, unsaid.Database)}
	database = key[2]
	if service := cmp.Or(q.Get("service"), unsaid.Service); service != "" && (key[0] == "" || database == "") { // its file says the rest
		key, database = append(key, service), cmp.Or(database, service)
	}
	sum := sha256.Sum256([]byte(strings.Join(key, "\x00")))
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, database)
	return clean[:min(len(clean), 40)] + "-" + hex.EncodeToString(sum[:4]) + ".meta"
}

// MetaFile is the Meta DB's file itself, links resolved: every name of it leads
// to the same locks, artifacts and logs.
func (p Place) MetaFile() string { return Real(p.MetaPath) }

// LiveDir is the folder of the liveness locks.
func (p Place) LiveDir() string { return LiveDir(p.MetaFile()) }

// LiveDir is the folder of the liveness locks of a Meta DB's real path.
func LiveDir(metaFile string) string { return metaFile + live }

// TurnFile is the lock of those who want the lab of a Meta DB's real path to
// themselves.
func TurnFile(metaFile string) string { return metaFile + turn }

// ReserveFile is the room that is set aside beside a Meta DB's real path.
func ReserveFile(metaFile string) string { return metaFile + reserve }

// JobsFile is the queue of jobs of a Meta DB's real path, a SQLite file of its own. It
// holds work that is to be done: what was done stands in the Meta DB.
func (p Place) JobsFile() string { return p.MetaFile() + jobs }

// JournalFile is where a restore or a remedy writes down, before it moves anything,
// what it will move.
func JournalFile(metaFile string) string { return metaFile + Staging + ".json" }

// ArtifactDir is the folder of the contents of artifacts on this machine; where shared
// objects are in a bucket, of copies of them.
func (p Place) ArtifactDir() string { return p.MetaFile() + artifacts }

// LogDir is the folder of what recorded programs printed.
func (p Place) LogDir() string { return p.MetaFile() + logs }

// LogFile is what the program of a run printed.
func (p Place) LogFile(runID string) string { return filepath.Join(p.LogDir(), runID+".log") }

// CalendarFile is the file of closures and extra sessions that the embedded
// calendars of the exchanges do not know.
func (p Place) CalendarFile() string { return filepath.Join(p.DataDir, Calendar) }

// SchedulesFile is the file of what is done again and again.
func (p Place) SchedulesFile() string { return filepath.Join(p.DataDir, Schedules) }

// ModelDir is the folder of trained models.
func (p Place) ModelDir() string { return filepath.Join(p.DataDir, models) }

// ModelName is a model's file, named from the data folder on, with slashes.
func ModelName(file string) string { return models + "/" + file }

// RunDir is the folder of what runs keep in folders of their own.
func (p Place) RunDir() string { return filepath.Join(p.DataDir, runs) }

// PlanFile is the plan of a pipeline.
func (p Place) PlanFile(runID string) string { return filepath.Join(p.RunDir(), runID, plan) }

// IsPlanFile reports whether a path is that of a plan.
func IsPlanFile(path string) bool { return filepath.Base(path) == plan }

// DelistingsFile is the file of the delistings and halts that the lab knows of.
func (p Place) DelistingsFile() string { return filepath.Join(p.DataDir, Delistings) }

// UniversesFile is the file of the lists of members of universes.
func (p Place) UniversesFile() string { return filepath.Join(p.DataDir, Universes) }

// ScratchDir is the folder of what lives no longer than its process.
func (p Place) ScratchDir() string { return filepath.Join(p.DataDir, scratch) }

// TargetDir is the folder of the notes of files that are being made outside the
// lab.
func (p Place) TargetDir() string { return p.MetaFile() + targets }

// CacheRoot is the folder of the folders of providers' answers.
func (p Place) CacheRoot() string { return filepath.Join(p.DataDir, cache) }

// Pythons is the name under which the cache keeps what interpreters say of their
// packages.
const Pythons = "python"

// CacheDir is the folder of a provider's answers, which are kept for the day, or of
// what else can be asked for again.
func (p Place) CacheDir(provider string) string { return filepath.Join(p.CacheRoot(), provider) }

// MemoryDir is the folder of what ingests of files left, beside the providers'
// answers. Nothing is lost with it.
func (p Place) MemoryDir() string { return filepath.Join(p.CacheRoot(), memory) }

// NearDir is the folder of what processes of this machine have read of a lake in a
// bucket. Nothing is lost with it.
func (p Place) NearDir() string { return filepath.Join(p.CacheRoot(), near) }

// ReportDir is the folder of reports that no other file was named for.
func (p Place) ReportDir() string { return filepath.Join(p.DataDir, reports) }

// SpillDir is where the Fact DB's engine spills to.
func (p Place) SpillDir() string { return filepath.Join(filepath.Dir(p.FactPath), scratch) }

// OutputsDir is where units of work stage their outputs, a folder a run, until one
// process takes them into the Fact DB: beside its file, or in the folder of a lake's
// files, which all machines see. "": they are in a bucket, or the URL of the lake does
// not say where they are.
func (p Place) OutputsDir() string {
	if p.FactsURL == "" {
		return OutputsBeside(Real(p.FactPath))
	}
	u, err := ParseLakeURL(p.FactsURL)
	if err != nil || u.DataPath == "" || IsS3(u.DataPath) {
		return ""
	}
	return OutputsWithin(u.DataPath)
}

// OutputsBucket is where units of work stage their outputs for a lake whose files lie in a
// bucket, below the id of a run each; in: they do, and the URL of the lake says where.
func (p Place) OutputsBucket() (at S3, in bool) {
	u, err := ParseLakeURL(p.FactsURL)
	if err != nil || !IsS3(u.DataPath) {
		return at, false
	}
	at, err = u.S3(u.DataPath, p.Cloud)
	return OutputsIn(at), err == nil
}

// OutputsIn is OutputsBucket of a lake that has its files there.
func OutputsIn(files S3) S3 {
	files.Prefix += outputs + "/"
	return files
}

// OutputsManifest is the file that says what a unit has staged. It is made after the
// others and removed before them: without it there are no outputs.
const OutputsManifest = "manifest.json"

// OutputsBeside is OutputsDir of a Fact DB in the file of this real path.
func OutputsBeside(factFile string) string { return factFile + outputs }

// OutputsWithin is OutputsDir of a lake that has its files in this folder.
func OutputsWithin(dataPath string) string { return filepath.Join(dataPath, outputs) }

// BackupDir is the folder of the copies that are taken of a database before it is
// migrated or reset.
func BackupDir(database string) string { return filepath.Join(filepath.Dir(database), backups) }

// Shown is how a lab is named to a person: its data folder, or its Meta DB where
// that stands elsewhere.
func (p Place) Shown() string {
	if p.MetaURL != "" {
		return p.ShownMeta()
	}
	if filepath.Dir(p.MetaPath) == filepath.Clean(p.DataDir) {
		return p.DataDir
	}
	return p.MetaPath
}

// Real returns the one path that a file has for everybody, whatever links lead
// to it, also where the file itself is missing.
func Real(path string) string {
	for range 40 {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// Literal makes of a name a pattern of filepath.Match that matches it alone.
func Literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}
