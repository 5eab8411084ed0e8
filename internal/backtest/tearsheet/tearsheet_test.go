package tearsheet

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image/color"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"quant"
	"quant/internal/chart"
)

func (m market) page(t *testing.T) (*Sheet, string, *html.Node) {
	t.Helper()
	s := m.sheet(t)
	judge(s)
	text := write(t, s)
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s, text, doc
}

func judge(s *Sheet) {
	psr, dsr := 0.981, 0.874
	s.Deflation = &Deflation{Returns: s.Measured.Returns, Trials: 12, PSR: &psr, DSR: &dsr, ExpectedMaximum: 0.03}
	rows := int64(12345)
	s.Inputs = []quant.RunIO{
		{Direction: quant.In, Kind: "table", Name: "ohlcv", Rows: &rows, FirstDate: "2019-01-02", LastDate: "2023-12-29", Digest: "rows:0123"},
		{Direction: quant.Out, Kind: "table", Name: "backtest_equity"},
	}
}

func write(t *testing.T, s *Sheet) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var b strings.Builder
	for c := range n.ChildNodes() {
		b.WriteString(text(c))
	}
	return b.String()
}

func all(n *html.Node, element string) []*html.Node {
	var out []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == element {
			out = append(out, d)
		}
	}
	return out
}

func section(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	for _, s := range all(doc, "section") {
		if attr(s, "id") == id {
			return s
		}
	}
	t.Fatalf("there is no section %s", id)
	return nil
}

// values are the numbers of a part of the page, in full.
func values(n *html.Node) []string {
	var out []string
	for _, d := range all(n, "data") {
		out = append(out, attr(d, "value"))
	}
	return out
}

func full(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func TestThePageHasEverySectionAndEveryChartHasAText(t *testing.T) {
	t.Parallel()
	_, page, doc := ordinary().page(t)
	for _, id := range []string{"equity", "drawdown", "metrics", "months", "weights", "sensitivity", "trades", "provenance"} {
		s := section(t, doc, id)
		if h := all(s, "h2"); len(h) != 1 || attr(s, "aria-labelledby") != attr(h[0], "id") {
			t.Errorf("section %s has no heading of its own", id)
		}
	}
	ids := map[string]string{}
	for n := range doc.Descendants() {
		if id := attr(n, "id"); id != "" {
			if _, twice := ids[id]; twice {
				t.Errorf("the id %s stands twice", id)
			}
			ids[id] = text(n)
		}
	}
	charts := 0
	for _, s := range all(doc, "svg") {
		if attr(s, "role") != "img" {
			continue
		}
		charts++
		for _, id := range strings.Fields(attr(s, "aria-labelledby")) {
			if strings.TrimSpace(ids[id]) == "" {
				t.Errorf("chart %s: %s says nothing", attr(s, "id"), id)
			}
		}
	}
	if charts != 3 {
		t.Errorf("%d charts", charts)
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page has a number or a text that could not be written")
	}
	if !strings.Contains(text(section(t, doc, "trades")), "삼성전자") {
		t.Error("a Korean name is gone")
	}
}

func TestThePageNeedsNothingElseAndMayLoadNothingElse(t *testing.T) {
	t.Parallel()
	_, page, doc := ordinary().page(t)
	allowed := []string{"html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "p", "h1", "h2", "h3", "small", "b", "ul", "li", "dl", "dt", "dd",
		"div", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "data", "code", "details", "summary", "figure", "svg", "desc", "line", "path", "text"}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(allowed, n.Data) {
			t.Errorf("there is a <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "src" || a.Key == "href" || a.Key == "style" || a.Key == "srcset" || strings.HasPrefix(a.Key, "on") || strings.Contains(a.Val, "url(") {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	// The letters of figures are in the page; nothing else is a place to load from.
	rest := regexp.MustCompile(`src: url\(data:font/woff2;base64,[A-Za-z0-9+/=]+\)`).ReplaceAllString(page, "")
	if len(page)-len(rest) < 10_000 {
		t.Error("the page has no letters of its own")
	}
	for _, outside := range []string{"http:", "https:", "//", "@import", "url("} {
		if strings.Contains(rest, outside) {
			t.Errorf("the page mentions %s", outside)
		}
	}
	style := all(doc, "style")
	if len(style) != 1 {
		t.Fatalf("%d styles", len(style))
	}
	sum := sha256.Sum256([]byte(text(style[0])))
	policy := ""
	for _, m := range all(doc, "meta") {
		if attr(m, "http-equiv") == "Content-Security-Policy" {
			policy = attr(m, "content")
		}
	}
	if want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; font-src data:; base-uri 'none'; form-action 'none'"; policy != want {
		t.Errorf("policy %s, want %s", policy, want)
	}
}

func TestTheNumbersOfThePageAreThoseOfTheTables(t *testing.T) {
	t.Parallel()
	s, _, doc := ordinary().page(t)
	m := s.Measured
	got := values(section(t, doc, "metrics"))
	for name, v := range map[string]*float64{
		"total return": m.TotalReturn, "cagr": m.CAGR, "vol": m.Vol, "sharpe": m.Sharpe, "sortino": m.Sortino, "calmar": m.Calmar, "max_dd": m.MaxDD,
		"skew": m.Skew, "kurtosis": m.Kurtosis, "turnover": m.Turnover, "fees": m.Fees, "slippage": m.Slippage, "win rate": m.WinRate, "average trade": m.AvgTrade,
		"benchmark cagr": m.Benchmark.CAGR, "benchmark max_dd": m.Benchmark.MaxDD, "dsr": s.Deflation.DSR, "psr": s.Deflation.PSR,
	} {
		if v == nil || !slices.Contains(got, full(*v)) {
			t.Errorf("%s is not among the metrics", name)
		}
	}
	if *m.CAGR != 0.1234567891 || *m.Benchmark.Sharpe != 0.63 {
		t.Errorf("read as %+v", m)
	}
	var months []string
	for _, y := range s.Months {
		for _, r := range y.Month {
			if r != nil {
				months = append(months, full(*r))
			}
		}
		months = append(months, full(y.Total))
	}
	if got := values(section(t, doc, "months")); !slices.Equal(got, months) {
		t.Errorf("the months are %v, want %v", got, months)
	}
	rows := all(section(t, doc, "trades"), "tr")
	if want := 3 + 2*ExtremeTrades + len(s.Trades); len(rows) != want {
		t.Errorf("%d rows of trades, want %d", len(rows), want)
	}
	if got := len(values(section(t, doc, "sensitivity"))); got != 2*5+3*len(s.Sensitivity) {
		t.Errorf("%d numbers of sensitivity", got)
	}
	for _, want := range []string{runID, s.StrategyDigest, s.ResultDigest, "ohlcv", "rows:0123"} {
		if !strings.Contains(text(section(t, doc, "provenance")), want) {
			t.Errorf("the provenance lacks %s", want)
		}
	}
	if strings.Contains(text(section(t, doc, "provenance")), "backtest_equity") {
		t.Error("what the run wrote is among what it read")
	}
}

func TestMonthsCompoundToTheWholeReturn(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	byMonth, byYear := 1.0, 1.0
	for _, y := range s.Months {
		for _, r := range y.Month {
			if r != nil {
				byMonth *= 1 + *r
			}
		}
		byYear *= 1 + y.Total
	}
	want := s.Days[len(s.Days)-1].Equity / s.InitialCapital
	if math.Abs(byMonth/want-1) > 1e-12 || math.Abs(byYear/want-1) > 1e-12 {
		t.Errorf("months give %g, years %g, the account %g", byMonth, byYear, want)
	}
}

func TestWeightsAddUpToOneEveryDay(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	if len(s.Weights.Names) != TopNames || s.Weights.NOthers != len(ordinary().symbols)-TopNames || !slices.IsSortedFunc(s.Weights.Mean, func(a, b float64) int {
		if a >= b {
			return -1
		}
		return 1
	}) {
		t.Errorf("names %v, means %v, %d others", s.Weights.Names, s.Weights.Mean, s.Weights.NOthers)
	}
	for i := range s.Days {
		sum := s.Weights.Cash[i] + s.Weights.Others[i]
		for _, days := range s.Weights.Days {
			sum += days[i]
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Fatalf("%s: %g", s.Days[i].TS, sum)
		}
	}
	for _, a := range s.weights().Areas {
		for k := range a.Upper {
			if a.Upper[k].Y > a.Lower[k].Y+1e-12 || a.Upper[k].Y < -1e-9 || a.Lower[k].Y > 1+1e-9 {
				t.Fatalf("%s lies between %v and %v", a.Name, a.Lower[k], a.Upper[k])
			}
		}
	}
}

func TestTheSameRunGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	db := ordinary().store(t)
	var pages, pictures []string
	for range 2 {
		s, err := Read(t.Context(), db, runID)
		if err != nil {
			t.Fatal(err)
		}
		judge(s)
		var picture bytes.Buffer
		if err := s.PNG(&picture); err != nil {
			t.Fatal(err)
		}
		pages, pictures = append(pages, write(t, s)), append(pictures, picture.String())
	}
	if pages[0] != pages[1] || pictures[0] != pictures[1] {
		t.Error("two reports of one run differ")
	}
}

func TestTheStampsSayWhatWeakensTheResult(t *testing.T) {
	t.Parallel()
	weak := ordinary()
	weak.days, weak.basis, weak.benchmark = 100, "raw", false
	s := weak.sheet(t)
	s.InSample = true
	header := func(s *Sheet) string {
		doc, err := html.Parse(strings.NewReader(write(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		return text(all(doc, "header")[0])
	}
	for _, stamp := range []string{"In-sample", "Optimistic fill", "UNADJUSTED", "Universe fixed as of 2019-01-02", "Short sample", "3 position-sessions were valued"} {
		if !strings.Contains(header(s), stamp) {
			t.Errorf("the page does not say %s", stamp)
		}
	}
	sound := ordinary()
	sound.lag = 1
	s = sound.sheet(t)
	s.UniverseFixedAt, s.Notices = nil, nil
	if got := header(s); strings.Contains(got, "Optimistic") || strings.Contains(got, "Short") || strings.Contains(got, "UNADJUSTED") {
		t.Errorf("a sound backtest is stamped: %s", got)
	}
}

func TestWhatWasDelistedIsNamedWithItsDaysAndMoney(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	if page := write(t, s); strings.Contains(page, "Closed as delisted") {
		t.Error("nothing was delisted, and there is a table of it")
	}
	last, closed, again := quant.Date(19700), quant.Date(19714), quant.Date(19730)
	s.Measured.Delistings = []Delisting{
		{Symbol: "GONE", LastBar: last, ClosedOn: closed, LastPrice: 12.5, Return: -0.3, PnL: -37500, Cause: "rule", TradedAgain: &again},
		{Symbol: "BOUGHT", Benchmark: true, LastBar: last, ClosedOn: last, LastPrice: 20, Return: 0.05, PnL: 1000, Cause: "known", Reason: "<b>taken over</b>"},
	}
	page := write(t, s)
	for _, want := range []string{
		`<tr><th class="text" scope="row">GONE</th><td class="text">strategy</td><td class="text">` + last.String() + `</td><td class="text">` + closed.String() + `</td>`,
		`<td class="text">` + again.String() + `</td><td class="text">no bars</td>`,
		`<th class="text" scope="row">BOUGHT</th><td class="text">benchmark</td>`,
		`<td class="text">known: &lt;b&gt;taken over&lt;/b&gt;</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	s.Measured.Delistings = slices.Repeat(s.Measured.Delistings, MaxTrades)
	if page := write(t, s); !strings.Contains(page, fmt.Sprintf("The first %d of %d positions", MaxTrades, 2*MaxTrades)) {
		t.Error("a long list is not cut short")
	}
}

func TestHostileNamesStayTexts(t *testing.T) {
	t.Parallel()
	hostile := []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style><script>`, `</title><b>`, `{{.RunID}}`, `';alert(1)//`, `</svg><iframe>`, "a&b<c", `javascript:alert(1)`}
	m := ordinary()
	m.strategyID, m.symbols, m.days = hostile[0], hostile, 60
	db := m.store(t)
	for _, name := range hostile {
		s, err := Read(t.Context(), db, runID)
		if err != nil {
			t.Fatal(err)
		}
		s.StrategyID, s.Benchmark, s.Measured.Benchmark.Name, s.Notices = name, name, name, []string{name}
		s.Version, s.Basis, s.Calendar, s.StrategyDigest = name, name, name, name
		judge(s)
		s.Inputs[0].Name = name
		doc, err := html.Parse(strings.NewReader(write(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"script", "img", "iframe"} {
			if len(all(doc, bad)) > 0 {
				t.Errorf("%s: there is a <%s>", name, bad)
			}
		}
		if h := strings.Fields(text(all(doc, "h1")[0])); strings.Join(h, " ") != strings.Join(strings.Fields(name+" "+name), " ") {
			t.Errorf("%s is shown as %q", name, h)
		}
		if len(all(doc, "section")) != 8 || len(all(doc, "style")) != 1 {
			t.Errorf("%s breaks the page", name)
		}
		var picture bytes.Buffer
		if err := s.PNG(&picture); err != nil {
			t.Error(err)
		}
	}
}

func TestABacktestOfNothingAtAllHasASheet(t *testing.T) {
	t.Parallel()
	for _, days := range []int{0, 1, 2} {
		m := ordinary()
		m.days, m.symbols, m.benchmark = days, nil, false
		s := m.sheet(t)
		s.Measured, s.Sensitivity = Measured{}, nil
		page := write(t, s)
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
			t.Errorf("%d days: a number could not be written", days)
		}
		var picture bytes.Buffer
		if err := s.PNG(&picture); err != nil {
			t.Errorf("%d days: %v", days, err)
		}
		if chart := s.Chart(80); (chart == nil) != (days < 2) {
			t.Errorf("%d days: %q", days, chart)
		}
	}
}

func TestARunWithoutABacktestIsNotFound(t *testing.T) {
	t.Parallel()
	if _, err := Read(t.Context(), ordinary().store(t), "nobody"); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("%v", err)
	}
}

func TestThePictureShowsBothLinesAndTheDrawdown(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	s.StrategyID = "전략" // the font has no such letters
	var b bytes.Buffer
	if err := s.PNG(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[color.RGBA]int{}
	for y := range pictureHeight {
		for x := range pictureWidth {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0xff}]++
		}
	}
	for name, c := range map[string]color.RGBA{"equity": chart.Blue, "benchmark": chart.Amber, "drawdown": chart.Vermeil} {
		if seen[c] < 200 {
			t.Errorf("%s has %d pixels", name, seen[c])
		}
	}
	if seen[chart.Paper] < pictureWidth*pictureHeight/2 {
		t.Error("the picture is mostly not paper")
	}
}

func TestTheChartInLettersFitsAndNamesBothLines(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	for _, width := range []int{10, 50, 80, 200} {
		lines := s.Chart(width)
		for _, l := range lines {
			if n := len([]rune(l)); n > max(50, width) {
				t.Errorf("width %d: a line of %d", width, n)
			}
		}
		if last := lines[len(lines)-1]; !strings.Contains(last, "equity") || !strings.Contains(last, "equal") {
			t.Errorf("legend %q", last)
		}
	}
}

// Trades are positions, as in num_trades; lots are rows of backtest_trades.
func TestThePageCountsTradesAsTheSummaryDoes(t *testing.T) {
	t.Parallel()
	s := ordinary().sheet(t)
	s.Measured.NumTrades = int64(len(s.Trades)) - 3
	doc, err := html.Parse(strings.NewReader(write(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	want := quant.Count(len(s.Trades)-3, "trade") + ", positions from flat to flat, in " + quant.Count(len(s.Trades), "lot")
	if got := text(section(t, doc, "trades")); !strings.Contains(got, want) || strings.Contains(got, "round trip") {
		t.Errorf("no %q in %q", want, quant.Clip(got, 300))
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		amount(1234567.4): "1,234,567", amount(-1234.5): "\u22121,234", amount(12.345): "12.35", amount(0): "0.00", amount(-0.001): "0.00", amount(100): "100",
		percent(-0.00004): "0.00\u00a0%", percent(-0.1234): "\u221212.34\u00a0%", percent0(0.125): "12.5\u00a0%", chart.Compact(1_250_000): "1.25M", chart.Compact(999.99999999): "1k", chart.Compact(-5e9): "\u22125B", chart.Compact(0): "0",
		signed(0.0123): "+1.2", signed(-0.0001): "0.0", probability(0.99999): "> 99.9\u00a0%", probability(1): "100.00\u00a0%", probability(0.0001): "< 0.1\u00a0%",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzTicksAreRoundAndLieOnTheAxis(f *testing.F) {
	f.Add(0.0, 1.0, false)
	f.Add(1e-9, 1e9, true)
	f.Add(-5.0, 5.0, false)
	f.Add(1e300, 1e300, false)
	f.Add(1e16, 1e16+2, false) // no digit to spare
	f.Fuzz(func(t *testing.T, low, high float64, log bool) {
		if math.IsNaN(low) || math.IsNaN(high) || math.Abs(low) > 1e300 || math.Abs(high) > 1e300 || log && (low < 1e-300 || high < 1e-300) {
			return
		}
		a := chart.NewAxis(log, low, high)
		ticks := a.Ticks(5, chart.Compact)
		if len(ticks) > 2000 {
			t.Fatalf("%d ticks from %g to %g", len(ticks), low, high)
		}
		for _, tick := range ticks {
			if !(tick.At >= -1e-9 && tick.At <= 1+1e-9) {
				t.Fatalf("a tick at %g", tick.At)
			}
		}
	})
}

func TestAYearAndADecadeHaveDates(t *testing.T) {
	t.Parallel()
	for _, days := range []quant.Date{0, 1, 20, 90, 400, 3000, 20_000, 60_000} {
		s := span{10_000, 10_000 + days}
		ticks := s.ticks()
		if len(ticks) > 9 || days > 60 && len(ticks) < 2 {
			t.Errorf("%d days have the dates %v", days, ticks)
		}
	}
}

// A browser must find nothing to complain about: it keeps the policy, so what
// the page may not load shows as an error.
func TestABrowserShowsThePage(t *testing.T) {
	t.Parallel()
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("there is no Chromium here; the structure of the page is tested all the same")
	}
	s := ordinary().sheet(t)
	judge(s)
	folder := t.TempDir()
	page, shot := filepath.Join(folder, "sheet.html"), filepath.Join(folder, "shot.png")
	if err := os.WriteFile(page, []byte(write(t, s)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
		"--user-data-dir="+filepath.Join(folder, "profile"), "--screenshot="+shot, "--window-size=400,1200", "file://"+page).CombinedOutput()
	if err != nil {
		t.Skipf("the browser does not start here: %v", err)
	}
	if strings.Contains(string(out), "CONSOLE") {
		t.Errorf("the browser says: %s", out)
	}
	file, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := png.Decode(file); err != nil {
		t.Error(err)
	}
}
