package registry

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"time"
)

// newRunID makes a version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, 12
// bits of the fraction of that millisecond (its method 3), 62 random bits. So
// the text order of ids is the order of their starts to a quarter of a
// microsecond, and an id bound for a time is a bound on started_at.
func newRunID(at time.Time, random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[8:]); err != nil {
		return "", err
	}
	ms := at.UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	fraction := at.Sub(time.UnixMilli(ms)) * 4096 / time.Millisecond
	b[6] = 0x70 | byte(fraction>>8)
	b[7] = byte(fraction)
	b[8] = 0x80 | b[8]&0x3f
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:]), nil
}

var systemRandom io.Reader = rand.Reader
