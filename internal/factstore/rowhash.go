package factstore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"quant"
)

// RowHash is DuckDB's hash of a row that Go holds, built from its columns' hashes
// in their order: of the same rows, a Digest of RowHashes and DB.Digest are the
// same. The zero value has no column yet.
type RowHash struct {
	hash uint64
	some bool
}

// Column returns the hash with one more column.
func (r RowHash) Column(column uint64) RowHash {
	if !r.some {
		return RowHash{column, true}
	}
	return RowHash{combine(r.hash, column), true}
}

func combine(a, b uint64) uint64 {
	a ^= a >> 32
	a *= hashFactor
	return a ^ b
}

// hashFactor and the other constants are those of DuckDB's hash function, which
// is a bit mixer by Pelle Evensen and, for bytes, a multiplicative one.
const hashFactor = 0xd6e8feb86659fd93

// NullHash is the hash of a NULL, of any type.
const NullHash uint64 = 0xbf58476d1ce4e5b9

func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= hashFactor
	x ^= x >> 32
	x *= hashFactor
	return x ^ x>>32
}

// FloatHash is the hash of a DOUBLE. NaN is one: where it stands for NULL, the
// hash is NullHash.
func FloatHash(x float64) uint64 {
	switch {
	case x == 0:
		x = 0 // minus zero is zero
	case x != x:
		return mix(0x7ff8000000000000)
	}
	return mix(math.Float64bits(x))
}

// IntegerHash is the hash of an INTEGER.
func IntegerHash(x int32) uint64 { return mix(uint64(uint32(x))) }

// DateHash is the hash of a DATE.
func DateHash(d quant.Date) uint64 { return IntegerHash(int32(d)) }

// BigintHash is the hash of a BIGINT, or of a TIMESTAMP in microseconds since 1970.
func BigintHash(x int64) uint64 { return mix(uint64(x)) }

// BooleanHash is the hash of a BOOLEAN.
func BooleanHash(x bool) uint64 {
	if x {
		return mix(1)
	}
	return mix(0)
}

// TextHash is the hash of a TEXT.
func TextHash(s string) uint64 {
	h := 0xe17a1465 ^ uint64(len(s))*0xc6a4a7935bd1e995
	for ; len(s) >= 8; s = s[8:] {
		h = (h ^ binary.LittleEndian.Uint64([]byte(s[:8]))) * hashFactor
	}
	if len(s) > 0 {
		var last [8]byte
		copy(last[:], s)
		h = (h ^ binary.LittleEndian.Uint64(last[:])) * hashFactor
	}
	return mix(h)
}

// Digest is DB.Digest of rows that Go holds. The zero value is of no rows; the
// order of rows does not matter.
type Digest struct {
	rows int64
	a, b sum128
}

// sum128 is a sum of uint64.
type sum128 struct{ high, low uint64 }

func (s *sum128) add(x sum128) {
	var carry uint64
	s.low, carry = bits.Add64(s.low, x.low, 0)
	s.high, _ = bits.Add64(s.high, x.high, carry)
}

func (s sum128) String() string {
	x := new(big.Int).SetUint64(s.high)
	return x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(s.low)).String()
}

// Add adds a row.
func (d *Digest) Add(r RowHash) {
	d.rows++
	d.a.add(sum128{low: r.hash})
	d.b.add(sum128{low: combine(mix(r.hash), hashOfOne)})
}

// hashOfOne is IntegerHash(1).
const hashOfOne uint64 = 4717996019076358352

// Merge adds the rows of another digest, which are none of this one's.
func (d *Digest) Merge(o Digest) {
	d.rows += o.rows
	d.a.add(o.a)
	d.b.add(o.b)
}

// Rows is the number of rows.
func (d *Digest) Rows() int64 { return d.rows }

// String is what DB.Digest returns.
func (d *Digest) String() string { return digestText(d.rows, d.a.String(), d.b.String()) }

func digestText(rows int64, a, b string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", rows, a, b))
	return "rows:" + hex.EncodeToString(sum[:16])
}
