package curator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func readAll(tb testing.TB, data []byte) ([]row, error) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "X.csv")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	ins, err := Inspect([]string{path})
	if err != nil {
		return nil, err
	}
	c, err := openCSV(context.Background(), ins[0], plan{zeroVolume: true})
	if err != nil {
		return nil, err
	}
	defer c.file.Close()
	var rows []row
	for {
		b, err := c.split.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rows, err
		}
		r := c.rows(b)
		for {
			var x row
			ok, err := r.read(&x)
			if err != nil {
				return rows, err
			}
			if !ok {
				break
			}
			x.symbol = bytes.Clone(x.symbol)
			rows = append(rows, x)
		}
	}
	_, err = c.finish()
	return rows, err
}
