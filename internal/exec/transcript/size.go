package transcript

import (
	"math"
	"strconv"
	"strings"

	"quant"
)

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads how large a transcript may become: 512KiB, 64MiB, 1GB, 4096, or
// 0 for none. Usage: it is no size, or less than MinSize.
func ParseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if n, found := strings.CutSuffix(text, u.name); found {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/4/unit {
		return 0, quant.Errorf(quant.Usage, "%q is no size: write 512KiB, 64MiB, 1GiB, or a number of bytes", text)
	}
	size := int64(n) * unit
	if size != 0 && size < MinSize {
		return 0, quant.Errorf(quant.Usage, "%s is too small: at least %s, or 0", text, FormatSize(MinSize))
	}
	return size, nil
}

// FormatSize writes a size as ParseSize reads it.
func FormatSize(size int64) string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		u := sizeUnits[i]
		if strings.HasSuffix(u.name, "iB") && size != 0 && size%u.bytes == 0 {
			return strconv.FormatInt(size/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(size, 10)
}
