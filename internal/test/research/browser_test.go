package research

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
)

// server is a quant that serves a lab, in a process of its own.
type server struct {
	*labtest.Lab
	base string
}

var address = regexp.MustCompile(`at (http://127\.0\.0\.1:\d+)`)

// serve starts a server for the lab in the folder.
func serve(l *labtest.Lab) server {
	l.T.Helper()
	p := l.Start(nil, "serve", "--addr", "127.0.0.1:0")
	var at []string
	l.Eventually("the server says its address", func() bool {
		at = address.FindStringSubmatch(p.Stderr.String())
		return at != nil
	})
	return server{l, at[1]}
}

// demo is a lab with the demo's prices, decisions and backtest, and a model.
func demo(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	l.Must("demo", "lab")
	l.Dir = l.Path("lab")
	return l
}

// page is an answer.
type page struct {
	status int
	header http.Header
	text   string
}

func (s server) get(path string) page {
	s.T.Helper()
	ctx, stop := context.WithTimeout(s.T.Context(), time.Minute)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	labtest.Must(s.T, err)
	answer, err := http.DefaultClient.Do(r)
	labtest.Must(s.T, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	labtest.Must(s.T, err)
	return page{answer.StatusCode, answer.Header, string(text)}
}

// wants fails the test unless the page has a status and these parts.
func (s server) wants(path string, status int, parts ...string) page {
	s.T.Helper()
	p := s.get(path)
	if p.status != status {
		s.T.Errorf("%s: status %d, want %d: %s", path, p.status, status, labtest.Clipped(p.text))
	}
	for _, part := range parts {
		if !strings.Contains(p.text, part) {
			s.T.Errorf("%s lacks %q: %s", path, part, labtest.Clipped(p.text))
		}
	}
	return p
}

var (
	row  = regexp.MustCompile(`(?s)<tr[^>]*>(.*?)</tr>`)
	cell = regexp.MustCompile(`(?s)<t[dh][^>]*>(.*?)</t[dh]>`)
	tag  = regexp.MustCompile(`(?s)<[^>]*>`)
)

// rows are the cells of all rows of all tables, as a reader sees them.
func (p page) rows() [][]string {
	var list [][]string
	for _, r := range row.FindAllStringSubmatch(p.text, -1) {
		var cells []string
		for _, c := range cell.FindAllStringSubmatch(r[1], -1) {
			cells = append(cells, strings.TrimSpace(html.UnescapeString(tag.ReplaceAllString(c[1], ""))))
		}
		list = append(list, cells)
	}
	return list
}

// row is the row whose first cell is this.
func (p page) row(t *testing.T, first string) []string {
	t.Helper()
	for _, r := range p.rows() {
		if len(r) > 0 && r[0] == first {
			return r
		}
	}
	t.Fatalf("no row %q in %v", first, p.rows())
	return nil
}

// attribute decodes the first JSON that an attribute holds.
func (p page) attribute(t *testing.T, name string, into any) {
	t.Helper()
	found := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(p.text)
	if found == nil {
		t.Fatalf("no %s", name)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(found[1])), into); err != nil {
		t.Fatal(err)
	}
}

// printed decodes what a command prints.
func printed[T any](l *labtest.Lab, args ...string) (v T) {
	l.T.Helper()
	labtest.Decode(l.T, l.Must(append(args, "--output", "json")...).Stdout, &v)
	return v
}

func same(t *testing.T, what string, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the page shows %q, the command prints what is %q", what, got, want)
	}
}

func percent(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v*100, 'f', 2, 64) + " %"
}

func figure(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case math.Abs(*v) >= 1000:
		return grouped(int64(math.Round(*v)))
	}
	return strconv.FormatFloat(*v, 'g', 4, 64)
}

// grouped has a comma before each three digits.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return fmt.Sprintf("%s?%s", path, q.Encode())
}
