// Package config resolves the settings and says where each came from: flag,
// environment, .env in the working directory, default, strongest first. It is
// the only reader of the environment. It opens no file but .env.
package config

import (
	"slices"
	"strings"

	"quant"
	"quant/internal/lab/place"
)

// Setting is one resolved setting.
type Setting struct {
	Name   string     `json:"name"`
	Value  string     `json:"value"`
	Source string     `json:"source"` // "flag --data-dir", "environment", ".env" or "default"; "unused: NAME" of what NAME stands in place of
	Secret bool       `json:"secret"`
	Flag   quant.Text `json:"flag"` // the global flag that sets it
}

// The names of the settings, as in the environment and in .env.
const (
	DataDir         = "QUANT_DATA_DIR"
	SQLitePath      = "QUANT_SQLITE_PATH"
	DuckDBPath      = "QUANT_DUCKDB_PATH"
	LogLevel        = "QUANT_LOG_LEVEL"
	AlphaVantageKey = "ALPHA_VANTAGE_API_KEY"
	Calendar        = "QUANT_CALENDAR"
	MemoryLimit     = "QUANT_MEMORY_LIMIT"
	MetaURL         = "QUANT_META_URL"
	FactsURL        = "QUANT_FACTS_URL"
	ObjectsURL      = "QUANT_OBJECTS_URL"
	ExtensionsDir   = "QUANT_EXTENSIONS_DIR"

	// ParentRun is not a setting: it names the run inside which this process
	// was started.
	ParentRun = "QUANT_RUN_ID"
	// JobRun is no setting either: a worker hands it to the process that does a job, the
	// id that the run of that is recorded under.
	JobRun = "QUANT_JOB_RUN_ID"
	// JobUser is none either: who submitted the job, where that is not who does it.
	JobUser = "QUANT_JOB_USER"
	// Job names the job that a process works for, and all that it starts: JOB:RUN, its
	// number and the run of this attempt.
	Job = "QUANT_JOB"
	// NoColor is the convention of no-color.org.
	NoColor = "NO_COLOR"
)

// catalogue lists the settings in the order in which they are shown.
var catalogue = []struct {
	name, flag string
	secret     bool
	fallback   func(s Settings) string // nil: it need not be set
}{
	{DataDir, "data-dir", false, func(Settings) string { return "./data" }},
	{SQLitePath, "sqlite", false, func(s Settings) string { return place.In(s.Value(DataDir)).MetaPath }},
	{DuckDBPath, "duckdb", false, func(s Settings) string { return place.In(s.Value(DataDir)).FactPath }},
	{LogLevel, "log-level", false, func(Settings) string { return "info" }},
	{AlphaVantageKey, "", true, nil},
	{Calendar, "", false, func(Settings) string { return "XNYS" }},
	{MemoryLimit, "memory-limit", false, func(Settings) string { return Auto }},
	{MetaURL, "meta-url", false, nil},
	{FactsURL, "facts-url", false, nil},
	{ObjectsURL, "objects-url", false, nil},
	{ExtensionsDir, "", false, func(s Settings) string { return place.ExtensionsDir(s.Value(DataDir)) }},
}

// Calendars are the values of QUANT_CALENDAR: two exchanges, and the days on
// which the data has bars, for any other market.
var Calendars = []string{"XNYS", "XKRX", "data"}

// Auto is the value of QUANT_MEMORY_LIMIT that leaves it to the Fact DB: a share of
// the machine's memory.
const Auto = "auto"

// leastMemory is what the Fact DB needs to do anything at all.
const leastMemory = 128 << 20

// LogLevels are the values of QUANT_LOG_LEVEL, most talkative first.
var LogLevels = []string{"debug", "info", "warn", "error"}

// Settings are the resolved settings. Immutable.
type Settings struct {
	list   []Setting
	unsaid place.Unsaid
	cloud  place.Cloud
	keys   []string // of clients of S3: they are masked
}

// List returns every setting, secrets unmasked.
func (s Settings) List() []Setting { return s.list }

// Shown returns every setting as a person is shown it: secrets and passwords are the
// mark, and what another setting stands in place of has no value.
func (s Settings) Shown(mark string) []Setting {
	at := s.Place()
	list := slices.Clone(s.list)
	for i, item := range list {
		switch {
		case item.Value == "":
		case item.Secret:
			list[i].Value = mark
		case item.Name == SQLitePath && at.MetaURL != "":
			list[i].Value, list[i].Source = "", unused+MetaURL
		case item.Name == DuckDBPath && at.FactsURL != "":
			list[i].Value, list[i].Source = "", unused+FactsURL
		case item.Name == MetaURL && at.MetaURL == "":
			list[i].Value, list[i].Source = "", unused+SQLitePath
		case item.Name == FactsURL && at.FactsURL == "":
			list[i].Value, list[i].Source = "", unused+DuckDBPath
		case item.Name == MetaURL:
			list[i].Value = place.MaskedServerURL(item.Value, mark)
		case item.Name == FactsURL:
			list[i].Value = place.MaskedLakeURL(item.Value, mark)
		}
	}
	return list
}

// unused begins the source of a setting that another one stands in place of.
const unused = "unused: "

// Value returns the value of the named setting, "" if there is none.
func (s Settings) Value(name string) string {
	for _, item := range s.list {
		if item.Name == name {
			return item.Value
		}
	}
	return ""
}

// Secrets returns the values of the secret settings that are set, and the passwords
// in URLs.
func (s Settings) Secrets() []string {
	var out []string
	for _, item := range s.list {
		if item.Secret && item.Value != "" {
			out = append(out, item.Value)
		}
		if item.Name == MetaURL {
			out = append(out, place.Passwords(item.Value)...)
		}
		if item.Name == FactsURL {
			out = append(out, place.LakePasswords(item.Value)...)
		}
		if item.Name == ObjectsURL {
			out = append(out, place.Passwords(item.Value)...)
		}
	}
	return append(out, s.keys...)
}

// Place is where the lab of the settings lies. A Meta DB on a server
// (QUANT_META_URL) stands in place of the one in a file, and facts on DuckLake
// (QUANT_FACTS_URL) in place of the Fact DB, unless the file is named by a stronger
// source. Shared objects (QUANT_OBJECTS_URL) are those of a Meta DB on a server.
func (s Settings) Place() place.Place {
	p := place.Place{DataDir: s.Value(DataDir), MetaPath: s.Value(SQLitePath), FactPath: s.Value(DuckDBPath)}
	if url := s.Value(MetaURL); url != "" && s.strength(MetaURL) >= s.strength(SQLitePath) {
		p = p.OnServer(url, s.unsaid)
	}
	if url := s.Value(FactsURL); url != "" && s.strength(FactsURL) >= s.strength(DuckDBPath) {
		p = p.OnLake(url, s.Value(ExtensionsDir))
	}
	p.Cloud = s.cloud
	if p.MetaURL != "" {
		p.ObjectsURL = s.Value(ObjectsURL)
	}
	return p
}

// strength orders the sources of a setting: default, .env, environment, flag.
func (s Settings) strength(name string) int {
	for _, item := range s.list {
		if item.Name == name {
			switch {
			case item.Source == fromDefault:
				return 0
			case item.Source == fromDotenv:
				return 1
			case item.Source == fromEnvironment:
				return 2
			}
			return 3
		}
	}
	return 0
}

// The sources of a setting that is no flag.
const (
	fromEnvironment = "environment"
	fromDotenv      = ".env"
	fromDefault     = "default"
)

// Validate reports the first setting whose value cannot be used, as Usage.
func (s Settings) Validate() error {
	for _, item := range s.list {
		if strings.ContainsRune(item.Value, 0) {
			return quant.Errorf(quant.Usage, "%s (%s) contains a NUL byte", item.Name, item.Source).
				WithHint("write it without the NUL byte")
		}
		if item.Value == "" && item.Source != fromDefault {
			return quant.Errorf(quant.Usage, "%s (%s) is empty", item.Name, item.Source).
				WithHint("give it a value, or leave it out")
		}
	}
	if level := s.Value(LogLevel); !slices.Contains(LogLevels, level) {
		return quant.Errorf(quant.Usage, "log level %q is not known", level).
			WithHint("use one of %s", strings.Join(LogLevels, ", "))
	}
	if name := s.Value(Calendar); name != "" && !slices.Contains(Calendars, name) {
		return quant.Errorf(quant.Usage, "%s: calendar %q is not known", Calendar, name).
			WithHint("use one of %s", strings.Join(Calendars, ", "))
	}
	if err := s.validMetaURL(); err != nil {
		return err
	}
	if err := s.validFactsURL(); err != nil {
		return err
	}
	if err := s.validObjectsURL(); err != nil {
		return err
	}
	_, err := s.MemoryLimit()
	return err
}

// validMetaURL never shows the URL: it may hold a password.
func (s Settings) validMetaURL() error {
	raw := s.Value(MetaURL)
	if raw == "" {
		return nil
	}
	if s.strength(MetaURL) == 3 && s.strength(SQLitePath) == 3 {
		return quant.Errorf(quant.Usage, "--meta-url and --sqlite exclude one another").WithHint("a lab has one Meta DB: a file, or a database on a server")
	}
	if !place.IsServerURL(raw) {
		return quant.Errorf(quant.Usage, "%s is no URL of a PostgreSQL database", MetaURL).
			WithHint("write it as postgres://USER@HOST/DATABASE; %s", escapeHint)
	}
	return nil
}

const escapeHint = "the password belongs in PGPASSWORD or ~/.pgpass; in a URL, @ / # and % in it are written as %40 %2F %23 and %25"

// validFactsURL never shows the URL: it may hold a password.
func (s Settings) validFactsURL() error {
	raw := s.Value(FactsURL)
	if raw == "" {
		return nil
	}
	if s.strength(FactsURL) == 3 && s.strength(DuckDBPath) == 3 {
		return quant.Errorf(quant.Usage, "--facts-url and --duckdb exclude one another").WithHint("a lab has one place for its facts: a file, or a lake")
	}
	lake, err := place.ParseLakeURL(raw)
	if err == nil && strings.Contains(lake.Catalog, "://") && !place.IsServerURL(lake.Catalog) {
		return quant.Errorf(quant.Usage, "%s: the URL of the catalog cannot be read", FactsURL).WithHint("%s", escapeHint)
	}
	if err != nil {
		return quant.Errorf(quant.Usage, "%s: %w", FactsURL, err).WithHint("write it as %s, the password best in PGPASSWORD or ~/.pgpass", place.LakeURLForm)
	}
	return nil
}

// validObjectsURL never shows the URL: somebody may have written a key into it.
func (s Settings) validObjectsURL() error {
	raw := s.Value(ObjectsURL)
	if raw == "" {
		return nil
	}
	if _, err := place.ParseObjects(raw, s.cloud); err != nil {
		return quant.Errorf(quant.Usage, "%s: %w", ObjectsURL, err).
			WithHint("write it as %s, the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile (AWS_PROFILE)", place.ObjectsURLForm)
	}
	if s.Value(MetaURL) == "" {
		return quant.Errorf(quant.Usage, "%s is set without %s", ObjectsURL, MetaURL).
			WithHint("objects that machines share belong to a lab whose Meta DB is on a server: docs/team.md")
	}
	return nil
}

// MemoryLimit is the value of QUANT_MEMORY_LIMIT in bytes, 0 for Auto. Usage: it is
// no size, or one with which nothing would run.
func (s Settings) MemoryLimit() (int64, error) {
	text := s.Value(MemoryLimit)
	if text == "" || text == Auto {
		return 0, nil
	}
	limit, err := quant.ParseBytes(text)
	if err != nil {
		return 0, quant.Errorf(quant.Usage, "%s: %w", MemoryLimit, err).WithHint("or leave it at %s", Auto)
	}
	if limit < leastMemory {
		return 0, quant.Errorf(quant.Usage, "%s: %s is too little", MemoryLimit, text).
			WithHint("give the Fact DB at least %s, or leave it at %s", quant.FormatBytes(leastMemory), Auto)
	}
	return limit, nil
}

// Environment answers for a variable, as os.LookupEnv does.
type Environment func(name string) (value string, set bool)

// Resolve merges the sources, strongest first: flags (by flag name, without
// dashes), environment, dotenv. An empty environment or .env value counts as
// not set; an empty flag does not, and Validate refuses it.
func Resolve(flags map[string]string, env Environment, dotenv map[string]string) Settings {
	var s Settings
	s.unsaid.Host, _ = env("PGHOST")
	s.unsaid.Port, _ = env("PGPORT")
	s.unsaid.Database, _ = env("PGDATABASE")
	s.unsaid.Service, _ = env("PGSERVICE")
	s.cloud, s.keys = cloudOf(env)
	for _, c := range catalogue {
		item := Setting{Name: c.name, Secret: c.secret}
		if c.flag != "" {
			item.Flag = quant.Text("--" + c.flag)
		}
		flag, byFlag := flags[c.flag]
		fromEnv, _ := env(c.name)
		switch {
		case byFlag && c.flag != "":
			item.Value, item.Source = flag, "flag --"+c.flag
		case fromEnv != "":
			item.Value, item.Source = fromEnv, fromEnvironment
		case dotenv[c.name] != "":
			item.Value, item.Source = dotenv[c.name], fromDotenv
		default:
			item.Source = fromDefault
			if c.fallback != nil {
				item.Value = c.fallback(s)
			}
		}
		s.list = append(s.list, item)
	}
	return s
}

// cloudOf is what clients of S3 read from an environment, and the secrets among it.
func cloudOf(env Environment) (c place.Cloud, keys []string) {
	first := func(names ...string) string {
		for _, name := range names {
			if v, _ := env(name); v != "" {
				return v
			}
		}
		return ""
	}
	c = place.Cloud{
		Endpoint: first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), Region: first("AWS_REGION", "AWS_DEFAULT_REGION"), CABundle: first("AWS_CA_BUNDLE"),
		NoMetadata: strings.EqualFold(first("AWS_EC2_METADATA_DISABLED"), "true"),
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		if v := first(name); v != "" {
			keys = append(keys, v)
		}
	}
	return c, keys
}
