package pages

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"quant"
	"quant/internal/server/caller"
	"quant/internal/session/sessiontest"
)

// browser asks the pages of a lab.
type browser struct {
	*sessiontest.Session
	t       testing.TB
	handler http.Handler
	caller  caller.Caller
}

func browse(t testing.TB) *browser {
	s := sessiontest.Begin(t)
	return &browser{Session: s, t: t, handler: Handler(Options{Session: s.Session}), caller: caller.Local()}
}

// answer is what came back.
type answer struct {
	*http.Response
	text string
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r.WithContext(caller.With(r.Context(), b.caller)))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{w.Result(), string(text)}
}

// get asks for a page and checks what holds for every page.
func (b *browser) get(path string) answer {
	b.t.Helper()
	a := b.do(httptest.NewRequest(http.MethodGet, path, nil))
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && a.StatusCode/100 != 3 {
		keepsPolicy(b.t, path, a)
	}
	return a
}

// post sends a form.
func (b *browser) post(path, form string) answer {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

var inline = regexp.MustCompile(`(?i)<style|<script(?:>|\s[^>]*>)[^<]|<[^>]*\s(?:style|on[a-z]+|hx-on[^=\s]*|hx-vars)\s*=|javascript:`)

// keepsPolicy checks that a page needs nothing that its policy forbids.
func keepsPolicy(t testing.TB, path string, a answer) {
	t.Helper()
	got := a.Header.Get("Content-Security-Policy")
	if !strings.Contains(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
		t.Errorf("%s: policy %q", path, got)
	}
	if found := inline.FindString(a.text); found != "" {
		t.Errorf("%s: inline script or style %q", path, found)
	}
	// The licence of the candles asks for a link to their maker; nothing is loaded by it.
	text := strings.ReplaceAll(a.text, `<a href="https://www.tradingview.com/"`, "")
	for _, address := range regexp.MustCompile(`(?:src|href|action)="([a-z]+:)?//`).FindAllString(text, -1) {
		t.Errorf("%s: refers to elsewhere: %s", path, address)
	}
}

func (a answer) wants(t testing.TB, status int, parts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, quant.Clip(a.text, 2000))
	}
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			t.Errorf("the page lacks %q: %s", part, quant.Clip(a.text[max(0, strings.Index(a.text, "<main")):], 4000))
		}
	}
}

func TestAPageThatIsKnownIsNotSentAgain(t *testing.T) {
	b := browse(t)
	first := b.get("/runs")
	first.wants(t, http.StatusOK, "<title>Runs · quant</title>")
	r := httptest.NewRequest(http.MethodGet, "/runs", nil)
	r.Header.Set("If-None-Match", first.Header.Get("ETag"))
	if again := b.do(r); again.StatusCode != http.StatusNotModified || again.text != "" {
		t.Errorf("asked again with its tag: %d, %d bytes", again.StatusCode, len(again.text))
	}
}

func TestAssetsAreKeptForeverUnderTheirContent(t *testing.T) {
	b := browse(t)
	page := b.get("/runs")
	links := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page.text, -1)
	if len(links) < 4 {
		t.Fatalf("found %v", links)
	}
	for _, link := range links {
		r := httptest.NewRequest(http.MethodGet, link[1], nil)
		r.Header.Set("Accept-Encoding", "gzip")
		a := b.do(r)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", link[1], a.StatusCode, a.Header)
		}
	}
	stale := b.get("/assets/000000000000/app.js")
	stale.wants(t, http.StatusOK)
	if stale.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("an address of another version is kept: %q", stale.Header.Get("Cache-Control"))
	}
	b.get("/assets/0/LICENSE").wants(t, http.StatusNotFound)
}

func TestScriptsOfAllPagesStayUnder60KB(t *testing.T) {
	total := 0
	for name, a := range assets() {
		if strings.HasSuffix(name, ".js") {
			t.Logf("%-16s %6d bytes, %5d compressed", name, len(a.content), len(a.zipped))
			if name != "lightweight-charts.js" { // on the page with candles alone
				total += len(a.zipped)
			}
		}
	}
	if total == 0 || total > 60_000 {
		t.Errorf("%d bytes of script", total)
	}
}

func TestAPageThatIsNotThereSaysSo(t *testing.T) {
	b := browse(t)
	b.get("/nowhere/%3Cscript%3E").wants(t, http.StatusNotFound, "there is no page /nowhere/&lt;script&gt;", "start from the list of runs")
}
