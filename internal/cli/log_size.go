package cli

import (
	"math"
	"strconv"
	"strings"

	"quant"
	"quant/internal/exec/transcript"
)

// logSize is a number of bytes as flags have it: 512KiB, 64MiB, 1GB, 4096.
type logSize int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// Set reads a size.
func (s *logSize) Set(text string) error {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if n, found := strings.CutSuffix(text, u.name); found {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/4/unit {
		return quant.Errorf(quant.Usage, "%q is no size: write 512KiB, 64MiB, 1GiB, or a number of bytes", text)
	}
	size := int64(n) * unit
	if size != 0 && size < transcript.MinSize {
		return quant.Errorf(quant.Usage, "%s is too small: at least %s, or 0", text, logSize(transcript.MinSize).text())
	}
	*s = logSize(size)
	return nil
}

// String writes a size as Set reads it.
func (s *logSize) String() string { return s.text() }

func (s logSize) text() string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		u := sizeUnits[i]
		if strings.HasSuffix(u.name, "iB") && s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Type names the flag's value in help texts.
func (s *logSize) Type() string { return "SIZE" }
