package curator

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// Bounds of what a decoder of XML or JSON holds of a file at once.
const (
	maxToken = 8 << 20 // bytes of one text, one tag, or one object of JSON
	maxDepth = 1000    // elements within elements
)

var errLongToken = fmt.Errorf("one piece of it is longer than %d MiB", maxToken>>20)

// pieceReader is what a decoder reads a file through: it ends with errLongToken
// where a piece goes on for longer than a decoder may hold, and with the error of
// the context once that is done. begin starts a piece.
type pieceReader struct {
	ctx  context.Context
	from io.Reader
	read int // bytes of this piece
}

func (r *pieceReader) begin() { r.read = 0 }

func (r *pieceReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.read > maxToken {
		return 0, errLongToken
	}
	n, err := r.from.Read(p)
	r.read += n
	return n, err
}

// xmlTokens are the tokens of a part within bounds: of their length, of their
// depth, and of how many elements there are of a name.
type xmlTokens struct {
	decoder *xml.Decoder
	piece   *pieceReader
	depth   int
	left    map[string]int // by the local name of elements; one that it has not is not counted
}

// newXMLTokens reads within bounds. most is how many elements there may be of a
// name, nil: any number of each.
func newXMLTokens(ctx context.Context, from io.Reader, most map[string]int) *xmlTokens {
	piece := &pieceReader{ctx: ctx, from: from}
	return &xmlTokens{decoder: xml.NewDecoder(piece), piece: piece, left: most}
}

// Token is as that of xml.Decoder.
func (t *xmlTokens) Token() (xml.Token, error) {
	t.piece.begin()
	token, err := t.decoder.Token()
	switch e := token.(type) {
	case xml.StartElement:
		if t.depth++; t.depth > maxDepth {
			return nil, errors.New("its elements stand too deep in each other")
		}
		if left, counted := t.left[e.Name.Local]; counted {
			if left == 0 {
				return nil, fmt.Errorf("it has too many elements %s", clip(e.Name.Local))
			}
			t.left[e.Name.Local] = left - 1
		}
	case xml.EndElement:
		t.depth--
	}
	return token, err
}
