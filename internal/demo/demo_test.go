package demo

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant"
)

func TestThePricesAreThoseThatTheirOriginNames(t *testing.T) {
	t.Parallel()
	origin, err := os.ReadFile("data/ORIGIN.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(Prices)
	if !strings.Contains(string(origin), hex.EncodeToString(sum[:])) {
		t.Errorf("ORIGIN.md does not name %x", sum)
	}
	r, err := gzip.NewReader(strings.NewReader(string(Prices)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || !strings.HasPrefix(string(text), "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n") || strings.Count(string(text), "\n") != 12155 {
		t.Errorf("%d lines, %v", strings.Count(string(text), "\n"), err)
	}
}

func TestOnlyADemoFolderIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fresh, foreign := filepath.Join(dir, "새 폴더", "x"), filepath.Join(dir, "foreign")
	if err := os.MkdirAll(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Check(fresh), Check(foreign)); err != nil {
		t.Errorf("missing and empty folders: %v", err)
	}
	for range 2 {
		if err := Mark(fresh); err != nil {
			t.Fatal(err)
		}
		path, err := WritePrices(fresh)
		if err != nil || Check(fresh) != nil {
			t.Fatal(path, err, Check(fresh))
		}
	}
	file := filepath.Join(foreign, "thesis.txt")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{foreign, file} {
		if err := Check(path); !errors.Is(err, quant.Conflict) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
