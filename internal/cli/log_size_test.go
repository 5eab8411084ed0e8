package cli

import (
	"testing"

	"quant/internal/exec/transcript"
)

func TestSizesAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "64MiB": 64 << 20, "1GiB": 1 << 30, "512KiB": 512 << 10, "1MB": 1e6, "5000B": 5000, "5kB": 5000} {
		var s logSize
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%s: %d %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1", "4095", "1.5GiB", "99999999999TiB", "1 MiB", "MiB", "9223372036854775807"} {
		var s logSize
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

func FuzzASizeIsRefusedOrWrittenAsItIsRead(f *testing.F) {
	for _, text := range []string{"64MiB", "0", "5000B", "1TB", "0KiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again logSize
		if s.Set(text) != nil {
			return
		}
		if s != 0 && s < transcript.MinSize {
			t.Fatalf("%q is %d", text, s)
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Fatalf("%q is %d, and %q is %d: %v", text, s, s.String(), again, err)
		}
	})
}
