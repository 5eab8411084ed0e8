package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/parquet"
	"quant/internal/sandbox"
)

func TestTheFirstRowsOfAParquetFileAreRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "it's.parquet")
	err := parquet.Write(t.Context(), file, []parquet.Column{{Name: "name", Type: parquet.Text}, {Name: "at", Type: parquet.Timestamp}, {Name: "x", Type: parquet.Double}}, false,
		func(row func([]any) error) error {
			for i := range 500 {
				if err := row([]any{"=1+1, 한국", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), float64(i) / 2}); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	result, err := sandbox.ReadParquet(t.Context(), file, 2, &out)
	if err != nil || !result.Cut || result.Rows != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	if want := "name,at,x\n\"=1+1, 한국\",2026-01-02T03:04:05.000000Z,0\n\"=1+1, 한국\",2026-01-02T03:04:05.000000Z,0.5\n"; out.String() != want {
		t.Errorf("read %q, want %q", out.String(), want)
	}
}

func TestWhatIsNoParquetFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.parquet")
	for _, content := range []string{"", "PAR1", "PAR1" + strings.Repeat("\xff", 1000) + "PAR1", "a,b\n1,2\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if _, err := sandbox.ReadParquet(t.Context(), file, 10, &out); quant.CodeOf(err) != quant.Failed || strings.Contains(err.Error(), file) {
			t.Errorf("%.10q: %v", content, err)
		}
	}
}
