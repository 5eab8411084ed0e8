package curator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json/jsontext"

	"quant"
)

func beginsJSON(head []byte) bool {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	return bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("["))
}

// maxJSONColumns bounds the names that the objects of a file may have.
const maxJSONColumns = 10_000

// jsonRows writes objects, one after the other or in one array, as rows: the
// header is every name that one of them has, in the order of the first mention.
// The number of a row is that of its object, from 1, and the header is none.
func jsonRows(ctx context.Context, f *os.File, _ int64, p plan, out *lineWriter) error {
	out.place = "record"
	var names []cell
	at := map[string]int{}
	held := 0
	err := eachObject(ctx, f, func(_ int64, name string, _ cell) error {
		if _, known := at[name]; !known {
			if len(names) >= maxJSONColumns {
				return quant.Errorf(quant.Invalid, "its objects have more than %d names", maxJSONColumns).WithHint("one object a bar: {\"date\": ..., \"close\": ...}")
			}
			if held += len(name); held > maxToken {
				return quant.Errorf(quant.Invalid, "the names of its objects are longer than %d MiB", maxToken>>20).WithHint("one object a bar: {\"date\": ..., \"close\": ...}")
			}
			at[name] = len(names)
			names = append(names, cell{text: name})
		}
		return nil
	}, func(int64) error { return nil })
	if err != nil {
		return err
	}
	if err := out.row(0, names); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	row := make([]cell, len(names))
	return eachObject(ctx, f, func(_ int64, name string, c cell) error {
		if i, known := at[name]; known {
			row[i] = c
		}
		return nil
	}, func(n int64) error {
		err := out.row(n, row)
		clear(row)
		return err
	})
}

// eachObject calls member for the members of each object, and end behind it.
func eachObject(ctx context.Context, r io.Reader, member func(n int64, name string, c cell) error, end func(n int64) error) error {
	buffered := bufio.NewReaderSize(r, 1<<16)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	// Of one object all names are held, and its longest text.
	piece := &pieceReader{ctx: ctx, from: buffered}
	d := jsontext.NewDecoder(piece)
	n := int64(0)
	bad := func(err error) error {
		if _, ours := errors.AsType[*quant.Error](err); ours || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, errLongToken) {
			return quant.Errorf(quant.Invalid, "record %d: is longer than %d MiB", n+1, maxToken>>20).WithHint("one object a bar: {\"date\": ..., \"close\": ...}")
		}
		return quant.Errorf(quant.Invalid, "record %d: is not JSON: %s", n+1, clip(err.Error())).WithHint("one object a line, or one array of objects; in pandas: to_json(orient=\"records\", lines=True)")
	}
	list := false
	if d.PeekKind() == '[' {
		list = true
		if _, err := d.ReadToken(); err != nil {
			return bad(err)
		}
	}
	for {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		piece.begin()
		kind := d.PeekKind()
		if list && kind == ']' {
			if _, err := d.ReadToken(); err != nil {
				return bad(err)
			}
			list = false
			continue
		}
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) && !list {
			return nil
		}
		if err != nil {
			return bad(err)
		}
		if token.Kind() != '{' {
			return quant.Errorf(quant.Invalid, "record %d: is JSON, but no object", n+1).WithHint("one object a bar; in pandas: to_json(orient=\"records\", lines=True)")
		}
		for d.PeekKind() == '"' {
			token, err := d.ReadToken()
			if err != nil {
				return bad(err)
			}
			name := token.String()
			c, err := jsonCell(d, n+1, name)
			if err != nil {
				return bad(err)
			}
			if err := member(n, name, c); err != nil {
				return err
			}
		}
		if _, err := d.ReadToken(); err != nil {
			return bad(err)
		}
		n++
		if err := end(n); err != nil {
			return err
		}
	}
}

// jsonCell reads a value. A list or an object in an object is of another form of
// JSON than one object a bar.
func jsonCell(d *jsontext.Decoder, n int64, name string) (cell, error) {
	switch d.PeekKind() {
	case '{', '[':
		return cell{}, quant.Errorf(quant.Invalid, "record %d: %s holds a list or an object, not a value", n, clip(fmt.Sprintf("%q", name))).
			WithHint("take the bars out of it, one object a bar: {\"date\": \"2024-01-02\", \"close\": 1.5, ...}; in pandas: to_json(orient=\"records\", lines=True)")
	case '0':
		v, err := d.ReadValue()
		return cell{text: string(v), number: true}, err
	}
	token, err := d.ReadToken()
	if err != nil || token.Kind() == 'n' {
		return cell{}, err
	}
	return cell{text: token.String()}, nil
}
