package factstore

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"

	"quant"
)

// RowDigest is the digest that DB.Digest gives of a query whose rows are these
// columns, in this order: for rows that Go is about to store. Equal lengths are
// the caller's to see to. It knows DuckDB's hash of a row, which a test compares
// with DuckDB's own.
func RowDigest(columns ...Column) (rows int64, digest string) {
	var s RowSum
	s.Add(columns...)
	return s.Digest()
}

// RowSum adds up rows for a digest that does not depend on their order. The zero
// value has none. Sums of parts are added by Join.
type RowSum struct {
	rows   int64
	a, b   wide
	hashes [hashedAtOnce]uint64
}

// wide is a sum that may pass 64 bits.
type wide struct{ high, low uint64 }

func (w *wide) add(x uint64) {
	var carry uint64
	w.low, carry = bits.Add64(w.low, x, 0)
	w.high += carry
}

func (w *wide) join(x wide) {
	var carry uint64
	w.low, carry = bits.Add64(w.low, x.low, 0)
	w.high, _ = bits.Add64(w.high, x.high, carry)
}

func (w wide) String() string {
	x := new(big.Int).SetUint64(w.high)
	return x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(w.low)).String()
}

// hashedAtOnce is how many rows are hashed column by column before they are
// summed: few enough to stay in the nearest cache.
const hashedAtOnce = 512

// Add adds rows.
func (s *RowSum) Add(columns ...Column) {
	if len(columns) == 0 {
		return
	}
	texts := make([][]uint64, len(columns))
	for i, c := range columns {
		if c.Numbers != nil {
			texts[i] = make([]uint64, len(c.Texts))
			for k, text := range c.Texts {
				texts[i][k] = hashText(text)
			}
		}
	}
	n := columns[0].rows()
	for from := 0; from < n; from += hashedAtOnce {
		hashes := s.hashes[:min(hashedAtOnce, n-from)]
		for i, c := range columns {
			c.hash(hashes, from, texts[i], i == 0)
		}
		for _, h := range hashes {
			s.a.add(h)
			s.b.add(combine(mix(h), hashOfOne))
		}
	}
	s.rows += int64(n)
}

// Join adds the rows of another sum.
func (s *RowSum) Join(o *RowSum) {
	s.rows += o.rows
	s.a.join(o.a)
	s.b.join(o.b)
}

// Digest is what DB.Digest says of the rows.
func (s *RowSum) Digest() (rows int64, digest string) {
	return s.rows, digestOfSums(s.rows, s.a.String(), s.b.String())
}

// DuckDB's hash of a value: mix of its bits. That of a row combines those of its
// values.

const (
	hashFactor = 0xd6e8feb86659fd93
	hashOfNull = 0xbf58476d1ce4e5b9
	textSeed   = 0xe17a1465
	textLength = 0xc6a4a7935bd1e995
)

var (
	hashOfOne = mix(1)
	hashOfNaN = mix(0x7ff8000000000000)
)

func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= hashFactor
	x ^= x >> 32
	x *= hashFactor
	return x ^ x>>32
}

func combine(a, b uint64) uint64 {
	a ^= a >> 32
	a *= hashFactor
	return a ^ b
}

func hashFloat(x float64) uint64 {
	if x == 0 {
		return mix(0) // both zeros are equal
	}
	return mix(math.Float64bits(x))
}

func hashText(text string) uint64 {
	h := uint64(len(text))*textLength ^ textSeed
	for len(text) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64([]byte(text[:8]))) * hashFactor
		text = text[8:]
	}
	if len(text) > 0 {
		var rest [8]byte
		copy(rest[:], text)
		h = (h ^ binary.LittleEndian.Uint64(rest[:])) * hashFactor
	}
	return mix(h)
}

// hash makes, or combines, the hashes of rows from on.
func (c Column) hash(hashes []uint64, from int, texts []uint64, first bool) {
	switch {
	case c.Floats != nil:
		hashAll(hashes, c.Floats[from:], c.nulls(from), first, func(x float64) uint64 {
			switch {
			case x == x:
				return hashFloat(x)
			case c.NaNs:
				return hashOfNaN
			}
			return hashOfNull
		})
	case c.Integers != nil:
		hashAll(hashes, c.Integers[from:], c.nulls(from), first, func(x int32) uint64 { return mix(uint64(uint32(x))) })
	case c.Dates != nil:
		hashAll(hashes, c.Dates[from:], c.nulls(from), first, func(x quant.Date) uint64 { return mix(uint64(uint32(x))) })
	case c.Bigints != nil:
		hashAll(hashes, c.Bigints[from:], c.nulls(from), first, func(x int64) uint64 { return mix(uint64(x)) })
	case c.Booleans != nil:
		hashAll(hashes, c.Booleans[from:], c.nulls(from), first, func(x bool) uint64 {
			if x {
				return hashOfOne
			}
			return mix(0)
		})
	case c.Numbers != nil:
		hashAll(hashes, c.Numbers[from:], c.nulls(from), first, func(x int32) uint64 {
			if x < 0 {
				return hashOfNull
			}
			return texts[x]
		})
	default:
		hashAll(hashes, c.Texts[from:], c.nulls(from), first, hashText)
	}
}

func (c Column) nulls(from int) []bool {
	if c.Nulls == nil {
		return nil
	}
	return c.Nulls[from:]
}

func hashAll[T any](hashes []uint64, values []T, nulls []bool, first bool, of func(T) uint64) {
	values = values[:len(hashes)]
	for i, v := range values {
		h := uint64(hashOfNull)
		if nulls == nil || !nulls[i] {
			h = of(v)
		}
		if !first {
			h = combine(hashes[i], h)
		}
		hashes[i] = h
	}
}
