package factstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"quant"
	"quant/internal/sqltext"
)

// Extension is a part of DuckDB that is not linked in.
type Extension string

// The extensions that facts on DuckLake need.
const (
	DuckLake        Extension = "ducklake"
	PostgresScanner Extension = "postgres_scanner"
	// HTTPFS is needed where the files of a lake are in a bucket.
	HTTPFS Extension = "httpfs"
)

// Package is what the extension is called on the Python Package Index, from where
// `pip` fetches it.
func (e Extension) Package() string {
	return "duckdb-extension-" + strings.ReplaceAll(string(e), "_", "-")
}

// file is where the extension's file lies in a folder of extensions, in one of three
// layouts: `pip install --target`'s, that of DuckDB's own INSTALL, and all in one folder,
// which is the answer where there is none.
func (e Extension) file(folder string) string {
	name := string(e) + ".duckdb_extension"
	flat := filepath.Join(folder, name)
	for _, file := range []string{
		flat,
		filepath.Join(folder, "duckdb_extension_"+string(e), "extensions", EngineVersion, name),
		filepath.Join(folder, EngineVersion, strings.Replace(platform(), "/", "_", 1), name),
	} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return flat
}

// platform is the one that the program is built for, in Go's words.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// extensionDigests are the SHA-256 of the extensions' files, by platform, of the
// wheels of DuckDB's EngineVersion on the Python Package Index. An extension of another
// version, or another file under its name, is not loaded. They change with
// EngineVersion: internal/test/laketest.Extensions fetches and compares.
var extensionDigests = map[string]map[Extension]string{
	"linux/amd64": {
		DuckLake:        "e51bf9e8d933d0e83780ae096455501b542cf962569a2ce5613532d702c08302",
		PostgresScanner: "b1ced4cfc6311313e117c2afb3eac76508718778dde0716421503c7dbfb5605c",
		HTTPFS:          "887c392b1e49128d11667c81e3698d8b00dfdeb456771acf66d05a0f74f7b7d8",
	},
	"linux/arm64": {
		DuckLake:        "d0b57c8e261b89a1ae367c7224f0857cfde72ab6cf2609f188e0de9b897b1088",
		PostgresScanner: "e2469cce1e855e8c842a1487dd8168cf27904c03baaf1f2c227529403315d819",
		HTTPFS:          "eba6e263e395a83966090f1f11ade63630b1b21422f0f2813858d179d42ea1e9",
	},
	"darwin/arm64": {
		DuckLake:        "1b72fc42164dbf21948e5a912cefc383b24071852f9e70209874ebd0a73b7caa",
		PostgresScanner: "f39dd59bf57679d0242e19e180d90b4222e5cdb691ab67c7506658f3548c0e05",
		HTTPFS:          "10514b4ef19f80bf4ec4bf90c124f5d34625f2606263b40ae8ec7979905bb779",
	},
}

// lakeExtensions are those that a lake needs, in the order in which they are loaded.
func lakeExtensions() []Extension { return []Extension{DuckLake, PostgresScanner} }

// CheckExtensions reports the first extension for facts on DuckLake that is missing
// from a folder, or is not the one that this program is built for (quant.Store, with
// how to get it); more are those that not every lake needs. Nothing is loaded. It reads about 80 MB.
func CheckExtensions(folder string, more ...Extension) error {
	return checkExtensions(folder, append(lakeExtensions(), more...)...)
}

// checkExtensions is CheckExtensions of some.
func checkExtensions(folder string, extensions ...Extension) error {
	want, known := extensionDigests[platform()]
	if !known {
		return quant.Errorf(quant.Store, "facts on DuckLake: there are no extensions of DuckDB %s for %s", EngineVersion, platform()).
			WithHint("use Linux or macOS, or leave QUANT_FACTS_URL unset")
	}
	found := make([]error, len(extensions))
	var all sync.WaitGroup
	for i, e := range extensions {
		all.Go(func() { found[i] = checkExtension(e, folder, want[e]) })
	}
	all.Wait()
	for _, err := range found {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkExtension(e Extension, folder, want string) error {
	file := e.file(folder)
	digest, err := fileDigest(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &quant.Error{Code: quant.Store, Err: err, Msg: fmt.Sprintf("facts on DuckLake need the extension %s of DuckDB %s, and %s is not there", e, EngineVersion, file),
			Hint: howToGet(folder, e)}
	case err != nil:
		return storeError(err, "read the extension %s", file)
	case digest != want:
		return &quant.Error{Code: quant.Store, Msg: fmt.Sprintf("%s is not the extension %s of DuckDB %s that this program is built for (SHA-256 %.12s..., not %.12s...)", file, e, EngineVersion, digest, want),
			Hint: howToGet(folder, e)}
	}
	return nil
}

// howToGet is the command that fetches the extensions, of which one is wanted now.
func howToGet(folder string, wanted Extension) string {
	extensions := lakeExtensions()
	if !slices.Contains(extensions, wanted) {
		extensions = append(extensions, wanted)
	}
	packages := make([]string, len(extensions))
	for i, e := range extensions {
		packages[i] = e.Package() + "==" + strings.TrimPrefix(EngineVersion, "v")
	}
	return fmt.Sprintf("fetch them: `pip install --no-deps --upgrade --target %s %s`", folder, strings.Join(packages, " "))
}

func fileDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// loadExtensions makes the checked extensions known to the engine.
func loadExtensions(ctx context.Context, conn *sql.Conn, folder string, extensions ...Extension) error {
	if err := checkExtensions(folder, extensions...); err != nil {
		return err
	}
	for _, e := range extensions {
		if _, err := conn.ExecContext(ctx, "LOAD "+sqltext.Literal(e.file(folder))); err != nil {
			return quant.Errorf(quant.Store, "load the extension %s: %s", e.file(folder), firstLine(err)).WithHint("%s", howToGet(folder, e))
		}
	}
	return nil
}
