package factstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/nearby"
	"quant/internal/objectstore"
	"quant/internal/sqltext"
)

// The files of a lake may lie in a bucket. DuckDB reads and writes them by its extension
// httpfs, which is let in by a secret: it lives in the memory of one engine, holds for the
// lake's prefix alone, and no statement with it is ever shown.

const s3Secret = "lake_files"

// s3Files is where the files of a lake lie in a bucket; in: they do.
func s3Files(u place.LakeURL, cloud place.Cloud, found catalogState) (at place.S3, in bool, err error) {
	path := u.DataPath
	if path == "" {
		path = found.folder
	}
	if !place.IsS3(path) {
		return at, false, nil
	}
	at, err = u.S3(path, cloud)
	if err != nil {
		return at, true, quant.Errorf(quant.Usage, "the files of the lake: %w", err).WithHint("write it as data_path=s3://BUCKET/PREFIX, with s3_endpoint, s3_region and s3_url_style where they are needed")
	}
	return at, true, nil
}

// s3Statements let DuckDB in to the files of a lake in a bucket. They hold secrets.
func s3Statements(ctx context.Context, o Options, at place.S3) ([]string, error) {
	keys, err := objectstore.New(objectstore.Options{At: at, Cloud: o.Cloud, Know: o.Know}).Credentials(ctx)
	if err != nil {
		return nil, err
	}
	return secretStatements(o, at, keys), nil
}

// secretStatements are s3Statements with these credentials.
func secretStatements(o Options, at place.S3, keys objectstore.Credentials) []string {
	style := "vhost"
	if at.PathStyle {
		style = "path"
	}
	region := at.Region
	if region == "" {
		region = "us-east-1"
	}
	secret := [][2]string{{"KEY_ID", keys.KeyID}, {"SECRET", keys.Secret}, {"REGION", region}, {"URL_STYLE", style}, {"SCOPE", at.URL()}}
	if keys.Session != "" {
		secret = append(secret, [2]string{"SESSION_TOKEN", keys.Session})
	}
	if at.Endpoint != "" {
		scheme, host, _ := strings.Cut(at.Endpoint, "://")
		secret = append(secret, [2]string{"ENDPOINT", host}, [2]string{"USE_SSL", fmt.Sprint(scheme == "https")})
	}
	scope := sha256.Sum256([]byte(at.URL())) // two lakes of one engine have two secrets
	var words []string
	for _, s := range secret {
		words = append(words, s[0]+" "+sqltext.Literal(s[1]))
	}
	statements := []string{"CREATE OR REPLACE SECRET " + s3Secret + "_" + hex.EncodeToString(scope[:8]) + " (TYPE s3, PROVIDER config, " + strings.Join(words, ", ") + ")"}
	if o.Cloud.CABundle != "" {
		statements = append(statements, "SET ca_cert_file = "+sqltext.Literal(o.Cloud.CABundle), "SET enable_server_cert_verification = true")
	}
	return statements
}

// engineKeys are the credentials that the engine has for the files of a lake. Temporary
// ones are renewed between two statements: a run may last longer than they do, a
// statement must not.
type engineKeys struct {
	of *objectstore.Bucket
	at place.S3

	mu  sync.Mutex // an opening may be shared
	now objectstore.Credentials
}

// renewKeys gives the engine new credentials where those that it has end soon, by what
// their giver says: after four fifths of their time.
func (db *DB) renewKeys(ctx context.Context) error {
	if db.lake == nil || db.lake.keys == nil {
		return nil
	}
	db.lake.keys.mu.Lock()
	defer db.lake.keys.mu.Unlock()
	if db.lake.keys.now.Expires.IsZero() {
		return nil
	}
	fresh, err := db.lake.keys.of.Credentials(ctx)
	if err != nil {
		return err
	}
	_, err = db.giveKeys(ctx, fresh)
	return err
}

// refused reports whether a statement that failed is to be run again, once: the store did
// not take the engine's credentials, and there are others by now. Within a transaction,
// which the engine ends with the statement, it is not.
func (db *DB) refused(ctx context.Context, err error) bool {
	if err == nil || db.writing || db.lake == nil || db.lake.keys == nil || !strings.Contains(err.Error(), "HTTP") {
		return false
	}
	db.lake.keys.mu.Lock()
	defer db.lake.keys.mu.Unlock()
	fresh, failed := db.lake.keys.of.Renewed(ctx)
	if failed != nil {
		return false
	}
	given, failed := db.giveKeys(ctx, fresh)
	return given && failed == nil
}

// giveKeys gives the engine credentials that it does not have yet. The caller holds
// keys.mu.
func (db *DB) giveKeys(ctx context.Context, fresh objectstore.Credentials) (given bool, err error) {
	keys := db.lake.keys
	if fresh.KeyID == keys.now.KeyID && fresh.Secret == keys.now.Secret && fresh.Session == keys.now.Session {
		keys.now = fresh
		return false, nil
	}
	for _, s := range secretStatements(Options{}, keys.at, fresh) {
		if _, err := db.conn.ExecContext(ctx, s); err != nil {
			// Not its own words, which may be the statement's.
			return false, quant.Errorf(quant.Store, "%s: DuckDB does not take the new credentials of %s", db.path, keys.at.URL()).WithHint("run the command again")
		}
	}
	keys.now = fresh
	return true, nil
}

// near has the files of a lake read through this machine's disk, where blocks of them are
// kept: see package nearby.
func (db *DB) near(at place.S3) ([]string, error) {
	files := objectstore.New(objectstore.Options{At: at, Cloud: db.o.Cloud, Know: db.o.Know})
	server, err := nearby.Serve(files, at, nearby.In(db.o.Near, db.o.NearBytes))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "serve files of %s to DuckDB: %w", db.path, err).WithHint("this machine must let a process listen at 127.0.0.1")
	}
	db.lake.near = server
	return secretStatements(Options{}, server.At, objectstore.Credentials{KeyID: server.KeyID, Secret: server.Secret}), nil
}

// openFiles lets the engine in to the files of a lake that lie in a bucket; in: they do.
func (db *DB) openFiles(ctx context.Context, found catalogState) (in bool, err error) {
	at, in, err := s3Files(db.lake.url, db.o.Cloud, found)
	if err != nil || !in {
		return in, err
	}
	if err := loadExtensions(ctx, db.conn, db.o.Extensions, HTTPFS); err != nil {
		return in, err
	}
	var statements []string
	if db.readOnly && db.o.Near != "" {
		statements, err = db.near(at)
	} else {
		keys := &engineKeys{of: objectstore.New(objectstore.Options{At: at, Cloud: db.o.Cloud, Know: db.o.Know}), at: at}
		if keys.now, err = keys.of.Credentials(ctx); err == nil {
			statements, db.lake.keys = secretStatements(db.o, at, keys.now), keys
		}
	}
	if err != nil {
		return in, err
	}
	db.lake.bucket = &stagingBucket{temp: db.o.TempDir, bucket: objectstore.New(objectstore.Options{At: place.OutputsIn(at), Cloud: db.o.Cloud, Know: db.o.Know})}
	for _, s := range statements {
		if _, err := db.conn.ExecContext(ctx, s); err != nil {
			return in, quant.Errorf(quant.Store, "%s: DuckDB does not take the credentials of %s", db.path, at.URL()).WithHint("check AWS_CA_BUNDLE and the endpoint")
		}
	}
	return in, nil
}
