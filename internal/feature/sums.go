package feature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"

	"quant"
)

// The digest of facts is that of sums over rows, so that rows can be added to it. A row
// counts by DuckDB's hash of it, which the digests of earlier programs were made of by
// DuckDB itself; TestRowsAreHashedAsDuckDBDoes holds the two to each other.

// digestPart is a list of columns that are hashed together; a row without a value in
// any of them does not count.
type digestPart struct {
	name    string // the columns' names
	columns []int
}

func (p *digestPart) add(name string, column int) {
	if p.name != "" {
		p.name += ", "
	}
	p.name += name
	p.columns = append(p.columns, column)
}

func compactParts(parts ...digestPart) []digestPart {
	var some []digestPart
	for _, p := range parts {
		if len(p.columns) > 0 {
			some = append(some, p)
		}
	}
	return some
}

// rowSums are the number of rows, the sum of their hashes, and that of the hashes of
// these.
type rowSums struct {
	n    uint64
	a, b uint128
}

type uint128 struct{ hi, lo uint64 }

func (u *uint128) add(x uint64) {
	var carry uint64
	u.lo, carry = bits.Add64(u.lo, x, 0)
	u.hi += carry
}

func (u uint128) big() *big.Int {
	x := new(big.Int).SetUint64(u.hi)
	return x.Or(x.Lsh(x, 64), new(big.Int).SetUint64(u.lo))
}

func parse128(text string) (u uint128, ok bool) {
	x, ok := new(big.Int).SetString(text, 10)
	if !ok || x.Sign() < 0 || x.BitLen() > 128 {
		return u, false
	}
	u.lo = new(big.Int).And(x, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	u.hi = x.Rsh(x, 64).Uint64()
	return u, true
}

func (u *uint128) join(x uint128) {
	var carry uint64
	u.lo, carry = bits.Add64(u.lo, x.lo, 0)
	u.hi += x.hi + carry
}

// add counts a row by its hash.
func (s *rowSums) add(hash uint64) {
	s.n++
	s.a.add(hash)
	s.b.add(combine(mix(hash), hashOfOne()))
}

// join adds the rows of other sums.
func (s *rowSums) join(o rowSums) {
	s.n += o.n
	s.a.join(o.a)
	s.b.join(o.b)
}

// text are the sums as DuckDB spells them, which leaves out those of no rows.
func (s rowSums) text() string {
	if s.n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d %s %s", s.n, s.a.big(), s.b.big())
}

func hashOfOne() uint64 { return mix(1) }

// noneHash is DuckDB's hash of NULL.
const noneHash = 0xbf58476d1ce4e5b9

func mix(x uint64) uint64 {
	const m = 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= m
	x ^= x >> 32
	x *= m
	return x ^ x>>32
}

func combine(a, b uint64) uint64 {
	a ^= a >> 32
	return a*0xd6e8feb86659fd93 ^ b
}

func hashFloat(x float64) uint64 {
	if x == 0 {
		x = 0 // and not -0
	}
	if x != x {
		return mix(0x7ff8_0000_0000_0000)
	}
	return mix(math.Float64bits(x))
}

// take counts the rows of a symbol from one on, column by column.
func (s *rowSums) take(p digestPart, days []quant.Date, out [][]float64, from int) {
	var hashes [512]uint64
	var some [512]bool
	for ; from < len(days); from += len(hashes) {
		n := min(len(hashes), len(days)-from)
		for i, day := range days[from : from+n] {
			hashes[i], some[i] = mix(uint64(uint32(day))), false
		}
		for _, k := range p.columns {
			for i, x := range out[k][from : from+n] {
				if isNone(x) {
					hashes[i] = combine(hashes[i], noneHash)
					continue
				}
				hashes[i], some[i] = combine(hashes[i], hashFloat(x)), true
			}
		}
		for i, h := range hashes[:n] {
			if some[i] {
				s.add(h)
			}
		}
	}
}

// sumsText spells the sums of a slice; facts is its digest, "" where there is no row.
func sumsText(parts []digestPart, sums []rowSums) (text, facts string) {
	for k, p := range parts {
		if s := sums[k]; s.n > 0 {
			text += fmt.Sprintf("%s %d %s %s\n", p.name, s.n, s.a.big(), s.b.big())
		}
	}
	return text, factsDigest(text)
}

func factsDigest(text string) string {
	if text == "" {
		return ""
	}
	digest := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// parseSums reads what sumsText wrote. Not ok: it is not of these parts, or not what
// facts is the digest of.
func parseSums(parts []digestPart, text, facts string) (sums []rowSums, ok bool) {
	if factsDigest(text) != facts {
		return nil, false
	}
	sums = make([]rowSums, len(parts))
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		found := text == ""
		for k, p := range parts {
			rest, of := strings.CutPrefix(line, p.name+" ")
			fields := strings.Fields(rest)
			if !of || len(fields) != 3 || found {
				continue
			}
			var okA, okB bool
			_, err := fmt.Sscan(fields[0], &sums[k].n)
			sums[k].a, okA = parse128(fields[1])
			sums[k].b, okB = parse128(fields[2])
			found = err == nil && okA && okB
		}
		if !found {
			return nil, false
		}
	}
	return sums, true
}
