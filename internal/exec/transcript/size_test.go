package transcript

import (
	"testing"

	"quant"
)

func TestSizesAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "64MiB": 64 << 20, "1GiB": 1 << 30, "512KiB": 512 << 10, "1MB": 1e6, "5000B": 5000, "5kB": 5000} {
		if size, err := ParseSize(text); err != nil || size != want {
			t.Errorf("%s: %d %v", text, size, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1", "4095", "1.5GiB", "99999999999TiB", "1 MiB", "MiB", "9223372036854775807"} {
		if size, err := ParseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, size)
		}
	}
}

func FuzzASizeIsRefusedOrWrittenAsItIsRead(f *testing.F) {
	for _, text := range []string{"64MiB", "0", "5000B", "1TB", "0KiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if size != 0 && size < MinSize {
			t.Fatalf("%q is %d", text, size)
		}
		if again, err := ParseSize(quant.FormatBytes(size)); err != nil || again != size {
			t.Fatalf("%q is %d, and %q is %d: %v", text, size, quant.FormatBytes(size), again, err)
		}
	})
}
