package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"unicode/utf8"
)

// ErrNoText is the error of a content that is not text in UTF-8.
var ErrNoText = errors.New("the content is no text")

// Reader reads a verified content until a context ends, whose cause is then its
// error. Close it.
type Reader struct {
	source
	f *os.File
}

// Reader opens a content for reading. Errors: as of Open.
func (s Store) Reader(ctx context.Context, digest string) (*Reader, error) {
	f, err := s.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &Reader{source{ctx: ctx, r: f}, f}, nil
}

// Close closes it.
func (r *Reader) Close() error { return r.f.Close() }

// Text reads a text, up to limit bytes and to the end of a character; cut: there
// is more. Errors: ErrNoText, else Read's.
func (r *Reader) Text(limit int) (text string, cut bool, err error) {
	content, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return "", false, err
	}
	if cut = len(content) > limit; cut {
		content = content[:limit]
		for !utf8.Valid(content[max(0, len(content)-utf8.UTFMax):]) && len(content) > limit-utf8.UTFMax {
			content = content[:len(content)-1]
		}
	}
	if bytes.IndexByte(content, 0) >= 0 || !utf8.Valid(content) {
		return "", false, ErrNoText
	}
	return string(content), cut, nil
}
