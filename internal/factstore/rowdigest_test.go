package factstore_test

import (
	"math"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// What Go digests before it stores it is what DuckDB digests once it is stored,
// for every type, with NULL, both zeros and texts of every length.
func TestRowsHaveTheDigestThatDuckDBGivesThem(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	texts := []string{"", "a", "초", "S00001", "eight888", "ninenine9", "twelve.bytes", "thirteen.byte", "a text\x00with a zero byte", strings.Repeat("0123456789abcdef", 9)}
	for _, n := range []int{0, 1, 511, 512, 100_003} {
		columns := append(all(n), factstore.Column{Name: "named", Texts: texts, Numbers: make([]int32, n)},
			factstore.Column{Name: "exit", Dates: make([]quant.Date, n), Nulls: make([]bool, n)}, factstore.Column{Name: "zero", Floats: make([]float64, n)})
		for k := range n {
			columns[6].Numbers[k] = int32(k%(len(texts)+1)) - 1
			columns[7].Dates[k], columns[7].Nulls[k] = quant.Date(-k), k%5 == 0
			columns[8].Floats[k] = []float64{0, math.Copysign(0, -1), math.NaN(), math.SmallestNonzeroFloat64, math.MaxFloat64}[k%5]
		}
		relation, release, err := db.Hold(columns...)
		if err != nil {
			t.Fatal(err)
		}
		for from := range columns { // each type comes first once, and last
			order := append(columns[from:len(columns):len(columns)], columns[:from]...)
			names := make([]string, len(order))
			for i, c := range order {
				names[i] = c.Name
			}
			rows, want, err := db.Digest(t.Context(), "SELECT "+strings.Join(names, ", ")+" FROM "+relation)
			if err != nil {
				t.Fatal(err)
			}
			if n, digest := factstore.RowDigest(order...); n != rows || digest != want {
				t.Errorf("%d rows, %s first: %d %s, DuckDB has %d %s", n, names[0], n, digest, rows, want)
			}
			var halves [2]factstore.RowSum
			for h, cut := range [][2]int{{0, n / 3}, {n / 3, n}} {
				part := make([]factstore.Column, len(order))
				for i, c := range order {
					part[i] = c.Rows(cut[0], cut[1])
				}
				halves[h].Add(part...)
			}
			halves[0].Join(&halves[1])
			if _, digest := halves[0].Digest(); digest != want {
				t.Errorf("in parts: %s, DuckDB has %s", digest, want)
			}
		}
		release()
	}
}
