// Package archive puts a whole lab into one file, while others may work, and takes
// it out again; moves one into other stores; and makes a lab anew, after a backup of
// both databases. What is
// recorded of runs is the metastore's, what is in the Fact DB the factstore's; a
// restored lab is put in its place by package lab.
package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
)

// Format is the version of the form of a backup: an uncompressed tar of the
// members that memberName allows, and last the manifest.
const Format = 1

// manifestName is the last member of a backup.
const manifestName = "manifest.json"

// Manifest says what a backup holds. It is written last: what has one is whole.
type Manifest struct {
	Format  int        `json:"format"`
	TakenAt quant.Time `json:"taken_at"` // the state of both databases
	RunID   string     `json:"run_id"`   // that took it, and is RUNNING in it
	Quant   string     `json:"quant"`    // the version of the program
	Members []Member   `json:"members"`
	// Missing are artifacts, by digest, whose content was not there or not what
	// was stored when the backup was taken.
	Missing []string `json:"missing"`
}

// Contents counts what a backup holds beside the Meta DB.
type Contents struct {
	Artifacts, Logs, Models int64
	FactDB                  bool
}

// Contents counts the members.
func (m Manifest) Contents() (c Contents) {
	for _, member := range m.Members {
		switch folder, _, in := strings.Cut(member.Name, "/"); {
		case member.Name == factsMember:
			c.FactDB = true
		case in && folder+"/" == artifacts:
			c.Artifacts++
		case in && folder+"/" == logs:
			c.Logs++
		case in && folder+"/" == models:
			c.Models++
		}
	}
	return c
}

// Incomplete is the Partial error of a backup that lacks contents; nil for one
// that lacks none.
func (m Manifest) Incomplete() error {
	if len(m.Missing) == 0 {
		return nil
	}
	return quant.Errorf(quant.Partial, "the backup lacks the contents of %s, such as %s: missing or damaged in the lab", quant.Count(len(m.Missing), "artifact"), m.Missing[0]).
		WithHint("the rest is whole; `quant doctor --deep` names them")
}

// Member is one file of a backup.
type Member struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"` // sha256:<hex>
}

// The members of a backup, and the folders in it.
const (
	metaMember  = place.MetaDB
	factsMember = place.FactDB // its logs have this name and a suffix
	delistings  = place.Delistings
	universes   = place.Universes
	artifacts   = "artifacts/"
	logs        = "logs/"
	models      = "models/"
	runFiles    = "runs/"

	calendarMember = place.Calendar
)

// memberName is what a member may be called. No name leads anywhere else: no
// part of it begins with a dot.
var memberName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(meta\.db|delistings\.csv|universes\.csv|calendar\.csv|quant\.duckdb(\.wal(\.checkpoint|\.recovery)?)?` +
		`|artifacts/[0-9a-f]{64}|logs/[0-9a-f-]{36}[0-9A-Za-z._-]{0,64}|models/[0-9a-f]{64}\.json` +
		`|runs/[0-9a-f-]{36}/[0-9A-Za-z_-][0-9A-Za-z._-]{0,64})$`)
})

// writer writes a backup.
type writer struct {
	tar      *tar.Writer
	manifest Manifest
}

func newWriter(w io.Writer) *writer {
	return &writer{tar: tar.NewWriter(w), manifest: Manifest{Format: Format, Members: []Member{}, Missing: []string{}}}
}

// add writes a member of size bytes from r, which must have as many, and returns
// its digest.
func (w *writer) add(ctx context.Context, name string, size int64, r io.Reader) (digest string, err error) {
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(0, 0)}); err != nil {
		return "", err
	}
	sum := durable.NewSum()
	n, err := io.Copy(io.MultiWriter(w.tar, sum), io.LimitReader(ending{ctx, r}, size))
	if err == nil && n < size {
		err = fmt.Errorf("%s became shorter while it was read", name)
	}
	if err != nil {
		return "", err
	}
	digest = sum.Digest()
	w.manifest.Members = append(w.manifest.Members, Member{name, size, digest})
	return digest, nil
}

// close writes the manifest and the end.
func (w *writer) close() error {
	text, err := json.MarshalIndent(w.manifest, "", " ")
	if err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Size: int64(len(text)), Mode: 0o600, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	if _, err := w.tar.Write(text); err != nil {
		return err
	}
	return w.tar.Close()
}

// ending is a reader that ends with its context.
type ending struct {
	ctx context.Context
	r   io.Reader
}

func (e ending) Read(b []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.r.Read(b)
}

// read reads a backup of size bytes to its end, hands each member to take, and
// verifies all of them against the manifest. take may read less than all of a
// member. What was taken counts only if read returns no error. Errors: Refused
// for what is no whole backup, or was changed; take's; ctx's cause.
func read(ctx context.Context, r io.Reader, size int64, take func(name string, bytes int64, r io.Reader) error) (Manifest, error) {
	broken := func(format string, args ...any) (Manifest, error) {
		return Manifest{}, quant.Errorf(quant.Refused, "it is no whole backup: "+format, args...).
			WithHint("take another backup; nothing was changed")
	}
	in := tar.NewReader(ending{ctx, r})
	found := map[string]Member{}
	left := size
	for {
		h, err := in.Next()
		switch {
		case ctx.Err() != nil:
			return Manifest{}, context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return broken("it has no manifest")
		case err != nil:
			return broken("%w", err)
		}
		// A hole in a sparse file takes no room in the archive.
		if left -= h.Size; h.Typeflag != tar.TypeReg || h.Size < 0 || left < 0 || sparse(h) {
			return broken("%q is no plain file that fits into it", h.Name)
		}
		if h.Name == manifestName {
			text, err := io.ReadAll(io.LimitReader(in, 4096+1024*int64(len(found)+1)))
			if err != nil {
				return broken("its manifest: %w", err)
			}
			m, err := check(text, found)
			if err != nil {
				return broken("%w", err)
			}
			if _, err := in.Next(); !errors.Is(err, io.EOF) {
				return broken("something follows its manifest")
			}
			return m, nil
		}
		if _, twice := found[h.Name]; twice || !memberName().MatchString(h.Name) {
			return broken("%q does not belong into it, or is there twice", h.Name)
		}
		sum := durable.NewSum()
		body := io.TeeReader(in, sum)
		if err := take(h.Name, h.Size, body); err != nil {
			if ctx.Err() != nil {
				return Manifest{}, context.Cause(ctx)
			}
			return Manifest{}, err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			if ctx.Err() != nil {
				return Manifest{}, context.Cause(ctx)
			}
			return broken("%s: %w", h.Name, err)
		}
		found[h.Name] = Member{h.Name, h.Size, sum.Digest()}
	}
}

func sparse(h *tar.Header) bool {
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// check holds what was found against the manifest.
func check(text []byte, found map[string]Member) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("its manifest cannot be read: %w", err)
	}
	if m.Format != Format {
		return m, fmt.Errorf("its form is %d, and this program knows %d", m.Format, Format)
	}
	for _, member := range m.Members {
		if found[member.Name] != member {
			return m, fmt.Errorf("%q is not what was put in", member.Name)
		}
		delete(found, member.Name)
		if member.Name == metaMember {
			found[""] = member // there is a Meta DB
		}
	}
	if _, whole := found[""]; !whole || len(found) > 1 {
		return m, errors.New("its members are not those of its manifest")
	}
	return m, nil
}
