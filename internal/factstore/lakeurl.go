package factstore

import (
	"net/url"
	"path/filepath"
	"strings"

	"quant"
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
}

// The parameters of a lake's URL.
const (
	dataPathParameter = "data_path"
	schemaParameter   = "metadata_schema"
)

// ParseLakeURL reads the URL of facts on DuckLake. A data path becomes absolute.
// Usage: it is none, or names something that is not supported.
func ParseLakeURL(text string) (LakeURL, error) {
	u := LakeURL{Schema: "public"}
	rest, ok := strings.CutPrefix(text, "ducklake:")
	wrong := func(format string, args ...any) (LakeURL, error) {
		return LakeURL{}, quant.Errorf(quant.Usage, "facts URL: "+format, args...).
			WithHint("write `ducklake:postgres:dbname=quant host=db?data_path=/srv/lake`")
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
	if scheme, _, remote := strings.Cut(u.DataPath, "://"); remote {
		return wrong("a data path at %s:// is not supported; it is a folder", scheme)
	}
	if u.DataPath != "" {
		path, err := filepath.Abs(u.DataPath)
		if err != nil {
			return wrong("the data path cannot be used: %w", err)
		}
		u.DataPath = path
	}
	return u, nil
}
