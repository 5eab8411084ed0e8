package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant/internal/durable"
)

// Cache keeps answers on disk, in a folder for each day.
type Cache struct {
	Dir   string           // made when the first answer is kept
	Scope string           // whose answers they are, such as an address without secrets
	Now   func() time.Time // its UTC date is the day; nil: time.Now
	// Parse reads an answer that next gave before. One that it cannot read is
	// asked for again.
	Parse func(q Query, raw []byte) (Series, error)
}

// Cached answers what next has answered already on the same day, in this scope,
// for the same symbol and size, unless the query wants it fresh. Failures are
// not kept. A cache that cannot be written is no failure: next is asked again
// another time. Answers of earlier days are removed, since nothing reads them.
func Cached(next Provider, c Cache) Provider { return &cached{next, c} }

type cached struct {
	Provider
	Cache
}

func (c *cached) Daily(ctx context.Context, q Query) (Series, error) {
	path := c.path(q)
	if raw, err := os.ReadFile(path); err == nil && !q.Fresh {
		if s, err := c.Parse(q, raw); err == nil {
			s.Cached = true
			return s, nil
		}
	}
	s, err := c.Provider.Daily(ctx, q)
	if err == nil {
		c.keep(path, s.Raw)
	}
	return s, err
}

// path is the file of an answer. A symbol may hold what a file's name may not,
// and some file systems do not tell cases apart: the digest does.
func (c *cached) path(q Query) string {
	day := (Clock{Now: c.Now}).now().UTC().Format(time.DateOnly)
	sum := sha256.Sum256([]byte(c.Name() + "\x00" + c.Scope + "\x00" + q.Symbol + "\x00" + q.Size()))
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, q.Symbol)
	return filepath.Join(c.Dir, day, plain+"-"+q.Size()+"-"+hex.EncodeToString(sum[:8])+".raw")
}

// keep writes the answer whole or not at all, so that a reader finds all of it
// or nothing. Where it cannot be kept, the next query asks again.
func (c *cached) keep(path string, raw []byte) {
	folder := filepath.Dir(path)
	if durable.MakeFolder(folder) != nil || durable.Replace(path, 0o600, durable.Bytes(raw)) != nil {
		return
	}
	c.forget(filepath.Base(folder))
}

// forget removes the answers of the days before today.
func (c *cached) forget(today string) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, err := time.Parse(time.DateOnly, e.Name()); err == nil && e.IsDir() && e.Name() < today {
			os.RemoveAll(filepath.Join(c.Dir, e.Name()))
		}
	}
}

// Fresh has every query answered anew.
func Fresh(next Provider) Provider { return fresh{next} }

type fresh struct{ Provider }

func (f fresh) Daily(ctx context.Context, q Query) (Series, error) {
	q.Fresh = true
	return f.Provider.Daily(ctx, q)
}
