package quant

import (
	"math"
	"strconv"
	"strings"
)

var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseBytes reads a number of bytes as people write it: 512KiB, 64MiB, 1GB, or
// 4096. Usage: it is none.
func ParseBytes(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range byteUnits {
		if n, found := strings.CutSuffix(text, u.name); found {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/4/unit {
		return 0, Errorf(Usage, "%q is no size: write 512KiB, 64MiB, 1GiB, or a number of bytes", text)
	}
	return int64(n) * unit, nil
}

// FormatBytes writes a number of bytes as ParseBytes reads it, exactly.
func FormatBytes(size int64) string {
	for i := len(byteUnits) - 1; i >= 0; i-- {
		u := byteUnits[i]
		if strings.HasSuffix(u.name, "iB") && size != 0 && size%u.bytes == 0 {
			return strconv.FormatInt(size/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(size, 10)
}
