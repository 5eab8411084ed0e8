package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"strings"
)

// DigestPrefix is how a digest begins.
const DigestPrefix = "sha256:"

// Digest is the digest of b: sha256:<64 hexadecimal digits>.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return DigestPrefix + hex.EncodeToString(sum[:])
}

// DigestHex returns the 64 hexadecimal digits of a digest, and whether it is one.
func DigestHex(digest string) (string, bool) {
	digits, ok := strings.CutPrefix(digest, DigestPrefix)
	if !ok || len(digits) != 2*sha256.Size || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", false
	}
	return digits, true
}

// DigestFile reads a file once, to its end, and returns its digest and size.
// Errors: the operating system's.
func DigestFile(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := NewSum()
	if _, err := io.Copy(sum, f); err != nil {
		return "", 0, err
	}
	return sum.Digest(), sum.Size(), nil
}

// Sum takes the digest and the size of what is written to it. Its Write never
// fails. For one goroutine at a time.
type Sum struct {
	hash hash.Hash
	size int64
}

// NewSum returns the Sum of nothing.
func NewSum() *Sum { return &Sum{hash: sha256.New()} }

func (s *Sum) Write(b []byte) (int, error) {
	s.size += int64(len(b))
	return s.hash.Write(b)
}

// Digest is the digest of what was written so far.
func (s *Sum) Digest() string { return DigestPrefix + hex.EncodeToString(s.hash.Sum(nil)) }

// Size is the number of bytes written so far.
func (s *Sum) Size() int64 { return s.size }
