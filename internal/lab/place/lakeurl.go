package place

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// LakeURL says where facts on DuckLake lie: "ducklake:postgres:dbname=quant
// host=db?data_path=/srv/lake", or with the catalog as a URL,
// "ducklake:postgres://user@db/quant?data_path=/srv/lake". What stands after postgres:
// is what a client of PostgreSQL takes; the parameters after the question mark that
// are DuckLake's are taken out of it.
type LakeURL struct {
	// Catalog names the PostgreSQL database of the catalog, in the words of libpq.
	Catalog string
	// DataPath is the folder of the Parquet files; "": the one that the catalog knows.
	DataPath string
	// Schema is the schema of the database that holds the catalog.
	Schema string
	// Endpoint, Region and Style are of a data path in a bucket, in DuckDB's words: the
	// store's URL, its region, and "path" or "vhost". "": what the environment says.
	Endpoint, Region, Style string
}

// The parameters of a lake's URL.
const (
	dataPathParameter = "data_path"
	schemaParameter   = "metadata_schema"

	lakeEndpointParameter = "s3_endpoint"
	lakeRegionParameter   = "s3_region"
	lakeStyleParameter    = "s3_url_style"
)

// LakeURLForm is how a lake's URL is written.
const LakeURLForm = "ducklake:postgres:dbname=quant host=db?data_path=/srv/lake"

// ParseLakeURL reads the URL of facts on DuckLake. A data path becomes absolute. The
// error says what is wrong, without what the text may hold of secrets.
func ParseLakeURL(text string) (LakeURL, error) {
	u := LakeURL{Schema: "public"}
	rest, ok := strings.CutPrefix(text, "ducklake:")
	wrong := func(format string, args ...any) (LakeURL, error) {
		return LakeURL{}, fmt.Errorf(format, args...)
	}
	if !ok || strings.ContainsAny(text, "\x00\n\r") {
		return wrong("it does not begin with ducklake:")
	}
	catalog, isPostgres := strings.CutPrefix(rest, "postgres:")
	switch {
	case strings.HasPrefix(rest, "postgres://"), strings.HasPrefix(rest, "postgresql://"):
		catalog = rest
	case !isPostgres:
		return wrong("the catalog of a lake is a PostgreSQL database")
	}
	query := ""
	if at := strings.LastIndexByte(catalog, '?'); at >= 0 {
		catalog, query = catalog[:at], catalog[at+1:]
	}
	var others []string
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return wrong("parameter %s cannot be read", name)
		}
		switch strings.ToLower(name) {
		case "":
		case dataPathParameter:
			u.DataPath = value
		case schemaParameter:
			u.Schema = value
		case lakeEndpointParameter:
			u.Endpoint = value
		case lakeRegionParameter:
			u.Region = value
		case lakeStyleParameter:
			u.Style = value
		default:
			others = append(others, part)
		}
	}
	if u.Catalog = strings.TrimSpace(catalog); u.Catalog == "" {
		return wrong("it does not name the database of the catalog")
	}
	if len(others) > 0 {
		if !strings.Contains(u.Catalog, "://") {
			return wrong("parameter %s is not known", strings.SplitN(others[0], "=", 2)[0])
		}
		u.Catalog += "?" + strings.Join(others, "&")
	}
	if u.Schema == "" {
		return wrong("parameter %s is empty", schemaParameter)
	}
	if IsS3(u.DataPath) {
		at, err := u.S3(u.DataPath, Cloud{})
		if err != nil {
			return LakeURL{}, err
		}
		u.DataPath = at.URL()
		return u, nil
	}
	if scheme, _, remote := strings.Cut(u.DataPath, "://"); remote {
		return wrong("a data path at %s:// is not supported; it is a folder, or s3://BUCKET/PREFIX", scheme)
	}
	if u.DataPath != "" {
		path, err := filepath.Abs(u.DataPath)
		if err != nil {
			return wrong("the data path cannot be used")
		}
		u.DataPath = path
	}
	return u, nil
}

// IsS3 reports whether a data path lies in a bucket.
func IsS3(dataPath string) bool { return strings.HasPrefix(dataPath, s3Scheme) }

// S3 is a data path in a bucket; what the URL leaves out, cloud says. The error says what
// is wrong, without what the text may hold of secrets.
func (u LakeURL) S3(dataPath string, cloud Cloud) (S3, error) {
	at, err := url.Parse(dataPath)
	switch {
	case err != nil || at.Scheme != "s3" || at.Opaque != "" || at.RawQuery != "" || at.Fragment != "":
		return S3{}, fmt.Errorf("the data path is no s3://BUCKET/PREFIX")
	case at.User != nil:
		return S3{}, fmt.Errorf("the data path holds who logs in, and keys do not belong in a URL")
	case u.Style != "" && u.Style != "path" && u.Style != "vhost":
		return S3{}, fmt.Errorf("%s is path or vhost", lakeStyleParameter)
	}
	s := S3{Endpoint: cmp.Or(u.Endpoint, cloud.Endpoint), Region: cmp.Or(u.Region, cloud.Region)}
	if s.Endpoint != "" && !strings.Contains(s.Endpoint, "://") {
		s.Endpoint = "https://" + s.Endpoint // as DuckDB takes it
	}
	if err := s.setPath(at.Host, at.Path); err != nil {
		return S3{}, err
	}
	style := ""
	if u.Style != "" {
		style = strconv.FormatBool(u.Style == "path")
	}
	return s, s.settle(style)
}

// OnLake is the place with its facts on the lake of a URL; extensions is the folder of
// what DuckDB needs for that.
func (p Place) OnLake(factsURL, extensions string) Place {
	p.FactsURL, p.Extensions, p.FactPath = factsURL, extensions, filepath.Join(p.DataDir, lakeName(factsURL))
	return p
}

// lakeName is a name of a file for a lake: nothing stands there, but what belongs to the
// lake on this machine has its name.
func lakeName(raw string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(raw))
	return fmt.Sprintf("lake-%08x", uint32(h.Sum64()))
}

// ShownFacts is how the facts are named to a person: the Fact DB's file, or the lake by
// its URL without a password.
func (p Place) ShownFacts() string {
	if p.FactsURL == "" {
		return p.FactPath
	}
	u, err := ParseLakeURL(p.FactsURL)
	if err != nil {
		return "the lake of " + lakeSetting
	}
	shown := "ducklake:postgres:" + u.withoutPassword()
	if u.DataPath != "" {
		shown += "?" + dataPathParameter + "=" + u.DataPath
	}
	return shown
}

const lakeSetting = "QUANT_FACTS_URL"

func (u LakeURL) withoutPassword() string {
	if strings.Contains(u.Catalog, "://") {
		return Place{MetaURL: u.Catalog}.ShownMeta()
	}
	var words []string
	for _, w := range libpqWords(u.Catalog) {
		if name, _, _ := strings.Cut(w, "="); !isPassword(name) {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func isPassword(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return name == "password" || name == "sslpassword"
}

// LakePasswords are the passwords in a lake's URL.
func LakePasswords(raw string) []string {
	u, err := ParseLakeURL(raw)
	if err != nil {
		return nil
	}
	if strings.Contains(u.Catalog, "://") {
		return Passwords(u.Catalog)
	}
	var found []string
	for _, w := range libpqWords(u.Catalog) {
		name, value, _ := strings.Cut(w, "=")
		value = strings.Trim(strings.TrimSpace(value), "'")
		if isPassword(name) && value != "" {
			found = append(found, strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(value))
		}
	}
	return found
}

// libpqWords are the words `name=value` of a connection string; a value in quotes may
// hold spaces.
func libpqWords(text string) []string {
	var words []string
	var word strings.Builder
	quoted, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case r == '\'':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteRune(r)
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}
