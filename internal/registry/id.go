package registry

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
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

// beganAt is the time that a run id was made for, to the microsecond: the last one whose
// fraction is not after that of the id.
func beganAt(id string) (time.Time, error) {
	if !IsRunID(id) {
		return time.Time{}, fmt.Errorf("%q is no run id", id)
	}
	b, err := hex.DecodeString(id[:8] + id[9:13] + id[14:18])
	if err != nil {
		return time.Time{}, err
	}
	var ms int64
	for _, octet := range b[:6] {
		ms = ms<<8 | int64(octet)
	}
	fraction := int64(b[6]&0x0f)<<8 | int64(b[7])
	return time.UnixMilli(ms).Add(time.Duration(((fraction+1)*1000-1)/4096) * time.Microsecond), nil
}

var systemRandom io.Reader = rand.Reader
