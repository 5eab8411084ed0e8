package curator

import (
	"context"
	"fmt"
	"strings"
)

// roundingSQL is a condition on a row: its open and its close are at most one
// rounding step outside low to high. A step is a unit of the last decimal place
// that one of the four prices has, or of a single-precision number where that is
// more; beyond a hundredth of the high it is no rounding.
var roundingSQL = func() string {
	decimals := func(f field) string {
		text := "CAST(" + f.String() + " AS VARCHAR)"
		return "CASE WHEN contains(" + text + ", 'e') THEN 0 ELSE length(rtrim(split_part(" + text + ", '.', 2), '0')) END"
	}
	places := make([]string, 0, 4)
	for f := open; f <= closing; f++ {
		places = append(places, decimals(f))
	}
	step := "1.000001 * greatest(pow(10, -greatest(" + strings.Join(places, ", ") + ")), high / 8388608)"
	tolerance := "least(" + step + ", high / 100)"
	return "low > 0 AND greatest(open, close) - high <= " + tolerance + " AND low - least(open, close) <= " + tolerance
}()

// widenRounded takes the rows whose open or close is outside low to high by
// rounding alone for bars, high or low widened to it, and tells how many. It
// reports whether there were any.
func (in *ingest) widenRounded(ctx context.Context) (some bool, err error) {
	if in.counts[openOutside]+in.counts[closeOutside] == 0 {
		return false, nil
	}
	n, err := in.db.Stage(ctx, fmt.Sprintf(`UPDATE temp.main.%s SET fault = 0, high = greatest(open, high, close), low = least(open, low, close)
		WHERE fault IN (%d, %d) AND %s`, staged, openOutside, closeOutside, roundingSQL))
	if n > 0 {
		in.notice("bars whose open or close is one rounding step outside low to high, which was widened to it: %d", n)
	}
	return n > 0, err
}
