package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/exec/transcript"
	"quant/internal/metastore"
	"quant/internal/process"
	"quant/internal/server/caller"
	"quant/internal/session"
	"quant/internal/tracking"
)

// kept is the content of an artifact, stored for a run.
func (b *browser) kept(run, name, content string) {
	b.t.Helper()
	a, err := b.Artifacts().KeepFrom(b.t.Context(), strings.NewReader(content), name)
	if err == nil {
		err = b.Registry.Log(b.t.Context(), run, metastore.Batch{Artifacts: []quant.Artifact{a}})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestARunsPageShowsWhatIsKnownOfIt(t *testing.T) {
	b := browse(t)
	id := b.recorded("train", metastore.Batch{
		Params:  []quant.Param{{Name: "lr", Value: "<b>0.1</b>"}},
		Tags:    []quant.Tag{{Name: quant.NameTag, Value: "첫 번째 run"}, {Name: "team", Value: `"><script>alert(1)</script>`}},
		Notes:   []quant.Note{{Text: "a note\n<img src=x onerror=alert(1)>"}},
		Metrics: []quant.MetricPoint{{Name: "loss", Step: 0, Value: 0.5}, {Name: "loss", Step: 1, Value: 0.25}},
	})
	page := b.get("/runs/" + id)
	page.wants(t, http.StatusOK, "<title>첫 번째 run · quant</title>", "&lt;b&gt;0.1&lt;/b&gt;", "&lt;img src=x", `<span class="status SUCCESS">`,
		"<pre class=\"mono\" tabindex=\"0\">quant train</pre>", `data-chart="/runs/`+id+`/points?name=loss"`, "0.25", "uplot.min.js")
	for _, hostile := range []string{"<script>alert", "<img src=x"} {
		if strings.Contains(page.text, hostile) {
			t.Errorf("the page has %q as it stands", hostile)
		}
	}
	for _, ref := range []string{id[28:], "@" + url.PathEscape("첫 번째 run"), "last:train", strings.ReplaceAll(id, "-", "")} {
		a := b.get("/runs/" + ref)
		if to := a.Header.Get("Location"); a.StatusCode != http.StatusFound && a.StatusCode != http.StatusOK || a.StatusCode == http.StatusFound && to != "/runs/"+id {
			t.Errorf("%s leads to %d %s", ref, a.StatusCode, to)
		}
	}
	b.get("/runs/ffffffff").wants(t, http.StatusNotFound, "no run", "name a run by its id")
	for _, tab := range []string{"/metrics", "/params", "/artifacts", "/log", "/code", "/lineage", "/head", "/ledger"} {
		b.get("/runs/"+id+tab).wants(t, http.StatusOK)
	}
}

func TestAChartSaysHowManyPointsItLeavesOut(t *testing.T) {
	b := browse(t)
	var batch metastore.Batch
	for i := range 2500 {
		batch.Metrics = append(batch.Metrics, quant.MetricPoint{Name: "a b/c", Step: int64(i), Value: float64(i)})
	}
	id := b.recorded("train", batch)
	var doc chartDocument
	a := b.get("/runs/" + id + "/points?name=" + url.QueryEscape("a b/c"))
	if err := json.Unmarshal([]byte(a.text), &doc); err != nil {
		t.Fatalf("%v: %s", err, a.text)
	}
	if doc.Note != "1,000 of 2,500 points, spread evenly" || len(doc.Series) != 1 || len(doc.Series[0].Y) != 1000 || *doc.Series[0].Y[999] != 2499 || doc.Series[0].Step[0] != 0 {
		t.Errorf("note %q, %d series", doc.Note, len(doc.Series))
	}
	b.get("/runs/"+id+"/points?name=none").wants(t, http.StatusNotFound)
	b.get("/runs/"+id+"/points?name=a&n=1000000").wants(t, http.StatusBadRequest, "2 to 5000 points")
}

func TestARunWithThousandsOfEachStaysSmall(t *testing.T) {
	b := browse(t)
	var batch metastore.Batch
	for i := range 10_000 {
		batch.Params = append(batch.Params, quant.Param{Name: fmt.Sprintf("p%05d", i), Value: strings.Repeat("x", 100)})
	}
	id := b.recorded("train", batch)
	begun := time.Now()
	page := b.get("/runs/" + id)
	page.wants(t, http.StatusOK, "50 of 10,000", "p00049")
	if len(page.text) > 60_000 || strings.Contains(page.text, "p00050") {
		t.Errorf("the page has %d bytes", len(page.text))
	}
	t.Logf("made in %v", time.Since(begun))
	b.get("/runs/"+id+"/params").wants(t, http.StatusOK, "p00499", "?after=p00499")
	b.get("/runs/"+id+"/params?after=p09900").wants(t, http.StatusOK, "p09999")
}

func TestArtifactsAreShownAndCannotLeaveTheirFrame(t *testing.T) {
	b := browse(t)
	id := b.recorded("train", metastore.Batch{})
	b.kept(id, "out/report ?#1.html", "<script>alert(1)</script>")
	b.kept(id, "rows.csv", "a,b\n1,<i>\n\"x\ny\",2\n")
	b.kept(id, "conf.json", `{"a":{"b":"<i>"}}`)
	b.kept(id, "pic.svg", `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	b.kept(id, "data.bin", "\x00\x01")
	b.kept(id, quant.CodeDiff, "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old <b>\n+new\n")
	b.kept(id, "big.txt", strings.Repeat("0123456789abcde\n", 100_000))
	at := "/runs/" + id
	b.get(at+"/artifacts").wants(t, http.StatusOK, `href="`+at+`/artifacts/out/report%20%3F%231.html"`)
	b.get(at+"/artifacts/out/report%20%3F%231.html").wants(t, http.StatusOK, `<iframe class="page" src="`+at+`/files/out/report%20%3F%231.html?show=1" sandbox="allow-scripts"`)
	b.get(at+"/artifacts/rows.csv").wants(t, http.StatusOK, "<th>a</th><th>b</th>", "<td>&lt;i&gt;</td>", "<td>x\ny</td>")
	b.get(at+"/artifacts/conf.json").wants(t, http.StatusOK, "&#34;a&#34;: {\n    &#34;b&#34;: &#34;&lt;i&gt;&#34;")
	b.get(at+"/artifacts/data.bin").wants(t, http.StatusOK, "no text that can be shown")
	b.get(at+"/artifacts/big.txt").wants(t, http.StatusOK, "This is the first 256 KiB of 1.53 MiB")
	b.get(at+"/code").wants(t, http.StatusOK, `<span class="removed">-old &lt;b&gt;`, `<span class="added">&#43;new`, `<span class="soft">--- a/x`)
	b.get(at+"/artifacts/../../../etc/passwd").wants(t, http.StatusTemporaryRedirect)
	b.get(at+"/artifacts/none").wants(t, http.StatusNotFound, "has no artifact")

	file := func(path, contentType, disposition, policy string) {
		t.Helper()
		a := b.do(httptest.NewRequest(http.MethodGet, at+"/files/"+path, nil))
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != contentType || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(a.Header.Get("Content-Disposition"), disposition) || !strings.HasPrefix(a.Header.Get("Content-Security-Policy"), policy) {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
	}
	file("out/report%20%3F%231.html?show=1", "text/html; charset=utf-8", "", "sandbox allow-scripts; default-src 'none'")
	file("out/report%20%3F%231.html", "application/octet-stream", "attachment", "sandbox; default-src 'none'")
	file("pic.svg?show=1", "image/svg+xml", "", "sandbox; default-src 'none'")
	file("rows.csv?show=1", "application/octet-stream", "attachment", "sandbox;")
	for _, path := range []string{"out/report%20%3F%231.html?show=1", "pic.svg?show=1"} {
		if a := b.do(httptest.NewRequest(http.MethodGet, at+"/files/"+path, nil)); strings.Contains(a.Header.Get("Content-Security-Policy"), "allow-same-origin") {
			t.Errorf("%s has the lab's origin", path)
		}
	}
}

// Indented, the second would be two gigabytes.
func TestADeepJSONTextIsNotIndented(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`{"a":[1,2],"b\\\"[":"]"}`: len("{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\\\\\\\"[\": \"]\"\n}"),
		strings.Repeat("[", 9000) + strings.Repeat("1,", 110_000) + "1" + strings.Repeat("]", 9000): 2_000_000_000,
	} {
		if got := indentedLength(text); got < want-8 || want < 1<<20 && got > want+8 {
			t.Errorf("%.40s: %d, want %d", text, got, want)
		}
	}
	b := browse(t)
	id := b.recorded("train", metastore.Batch{})
	b.kept(id, "deep.json", strings.Repeat("[", 9000)+strings.Repeat("1,", 110_000)+"1"+strings.Repeat("]", 9000))
	b.get("/runs/"+id+"/artifacts/deep.json").wants(t, http.StatusOK, "[[[1,1,1")
}

func TestALogIsShownFromItsEndAndFollowed(t *testing.T) {
	b := browse(t)
	list, err := b.Begin(t.Context(), []session.Command{{Kind: "exec", Args: []string{"exec", "--", "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	id := list[0].RunID()
	if err := os.MkdirAll(b.LogDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := transcript.Create(b.LogFile(id), 1<<20, b.Mask)
	if err != nil {
		t.Fatal(err)
	}
	in := log.Input()
	for i := range 3000 {
		fmt.Fprintf(in, "line %d \x1b[31m<b>\x1b[0m\n", i)
	}
	b.get("/runs/"+id+"/log").wants(t, http.StatusOK, "line 2999 &lt;b&gt;", "these are the last 1,000 lines", "data-follow")
	if page := b.get("/runs/" + id + "/log"); strings.Contains(page.text, "line 1999 ") || strings.Contains(page.text, "\x1b") {
		t.Error("the page shows more than the last lines, or a control sequence")
	}
	done := make(chan answer)
	go func() { done <- b.do(httptest.NewRequest(http.MethodGet, "/runs/"+id+"/log/follow", nil)) }()
	time.Sleep(2 * followEvery)
	fmt.Fprint(in, "later\n")
	time.Sleep(2 * followEvery)
	in.Write([]byte("the end\n"))
	log.Close()
	b.Finish(t.Context(), list, []error{nil})
	select {
	case a := <-done:
		if a.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("headers %v", a.Header)
		}
		a.wants(t, http.StatusOK, "event: begin\n", "data: line 2999 <b>\n", "data: later\n", "data: the end\n", "event: end\n")
	case <-time.After(60 * time.Second):
		t.Fatal("the follower does not end")
	}
	whole := b.do(httptest.NewRequest(http.MethodGet, "/runs/"+id+"/log/whole", nil))
	if lines := strings.Count(whole.text, "\n"); lines != 3002 || !strings.HasPrefix(whole.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the file has %d lines", lines)
	}
	none := "/runs/" + b.recorded("train", metastore.Batch{}) + "/log"
	b.get(none).wants(t, http.StatusOK, "has no log")
	b.do(httptest.NewRequest(http.MethodGet, none+"/follow", nil)).wants(t, http.StatusOK, "event: gone\ndata: run", "has no log")
}

func TestLineageIsDrawnOneWay(t *testing.T) {
	b := browse(t)
	rows := int64(12)
	source, _ := b.Inside(t.Context(), session.Command{Kind: "ingest", Args: []string{"ingest"}}, func(_ context.Context, s *session.Session) error {
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: "/data/<b>.csv"}, quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv", Rows: &rows})
		return nil
	})
	middle, _ := b.Inside(t.Context(), session.Command{Kind: "features", Args: []string{"features"}}, func(_ context.Context, s *session.Session) error {
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: source})
		return nil
	})
	last, _ := b.Inside(t.Context(), session.Command{Kind: "backtest", Args: []string{"backtest"}}, func(_ context.Context, s *session.Session) error {
		s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: source}, quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: middle},
			quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: "backtest_summary", Rows: &rows})
		return nil
	})
	b.get("/runs/"+last+"/lineage").wants(t, http.StatusOK, `<a href="/runs/`+source+`">`, "&lt;b&gt;.csv", "table, 12 rows", "backtest_summary")
	column := columns([]string{"a", "b", "c", "d"}, map[string][]string{"a": {"b", "c"}, "c": {"b"}, "b": {"d"}, "d": {"a"}})
	if fmt.Sprint(column) != "map[a:0 b:2 c:1 d:3]" {
		t.Errorf("columns %v", column)
	}
}

func TestWhatIsDoneIsRecordedWithWhoDidIt(t *testing.T) {
	b := browse(t)
	b.caller = caller.Caller{Name: "kim", Scopes: []caller.Scope{caller.Write}}
	id := b.recorded("train", metastore.Batch{})
	at := "/runs/" + id
	for _, c := range []struct{ path, form, kind, shows string }{
		{"/tag", "name=team&value=%3Cb%3E", "log.tag", `<span class="soft">team</span> &lt;b&gt;`},
		{"/name", "name=%EC%B5%9C%EA%B3%A0", "log.tag", "<title>최고 · quant</title>"},
		{"/star", "", "log.tag", "★ Starred"},
		{"/unstar", "", "log.tag", "☆ Star"},
		{"/note", "text=remember+this", "log.note", "remember this"},
		{"/untag", "name=team", "log.tag", "Tags"},
		{"/delete", "", "runs.delete", "Restore"},
		{"/restore", "", "runs.restore", "Delete"},
	} {
		a := b.post(at+c.path, c.form)
		if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), at+"#") {
			t.Fatalf("%s: %d %s %s", c.path, a.StatusCode, a.Header.Get("Location"), a.text)
		}
		b.get(at).wants(t, http.StatusOK, c.shows)
		last, err := b.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		tags, err := b.Meta.Tags(t.Context(), last[0].RunID)
		if err != nil || last[0].Kind != c.kind || len(tags) != 1 || tags[0].Name != quant.ByTag || tags[0].Value != "kim" {
			t.Errorf("%s is recorded as %s with %v, %v", c.path, last[0].Kind, tags, err)
		}
	}
	b.post(at+"/untag", "name=team").wants(t, http.StatusNotFound, "tag")
	b.post(at+"/tag", "name=&value=x").wants(t, http.StatusBadRequest)
	b.post(at+"/note", "text="+strings.Repeat("x", quant.MaxNoteText+1)).wants(t, http.StatusBadRequest)
	b.post(at+"/stop", "").wants(t, http.StatusConflict, "has ended")
}

func TestWhoMayOnlyReadSeesNoButtonsAndChangesNothing(t *testing.T) {
	b := browse(t)
	id := b.recorded("train", metastore.Batch{Tags: []quant.Tag{{Name: "team", Value: "a"}}})
	b.caller = caller.Caller{Name: "guest", Scopes: []caller.Scope{caller.Read}}
	page := b.get("/runs/" + id)
	page.wants(t, http.StatusOK)
	if strings.Contains(page.text, `method="post"`) {
		t.Error("the page has forms that change something")
	}
	for _, action := range []string{"tag", "untag", "name", "note", "star", "unstar", "delete", "restore", "stop"} {
		b.post("/runs/"+id+"/"+action, "name=team&value=b&text=x").wants(t, http.StatusForbidden, "may read this lab, not change it")
	}
	if tags, err := b.Meta.Tags(t.Context(), id); err != nil || len(tags) != 1 || tags[0].Value != "a" {
		t.Errorf("tags %v, %v", tags, err)
	}
}

func TestAFormOfAnotherSiteIsRefused(t *testing.T) {
	b := browse(t)
	id := b.recorded("train", metastore.Batch{})
	r := httptest.NewRequest(http.MethodPost, "/runs/"+id+"/star", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	b.do(r).wants(t, http.StatusForbidden, "another site")
	r = httptest.NewRequest(http.MethodPost, "/runs/"+id+"/star", nil)
	r.Header.Set("Origin", "null") // a page in a sandbox
	b.do(r).wants(t, http.StatusForbidden, "another site")
	if tags, err := b.Meta.Tags(t.Context(), id); err != nil || len(tags) != 0 {
		t.Errorf("tags %v, %v", tags, err)
	}
}

func TestAProcessOfThisMachineIsStopped(t *testing.T) {
	b := browse(t)
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	start, _ := process.StartOf(cmd.Process.Pid)
	me := b.Registry.Process
	run := func(n int, pid int, start string) string {
		id := fmt.Sprintf("01a21e11-0000-7000-8000-00000000000%d", n)
		err := b.Meta.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "exec", Status: quant.Running, StartedAt: quant.NewTime(b.Now())},
			quant.RunProcess{RunID: id, Changes: true, Host: "h", User: "u", MachineID: quant.Text(me.MachineID), BootID: quant.Text(me.BootID),
				PID: int64(pid), ProcessStart: quant.Text(start), LiveLock: quant.Text(id)})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	other := run(1, cmd.Process.Pid, start+"1") // the pid came to another process
	b.post("/runs/"+other+"/stop", "").wants(t, http.StatusConflict, "has ended without finishing")
	mine := run(2, os.Getpid(), me.Start)
	b.post("/runs/"+mine+"/stop", "").wants(t, http.StatusUnprocessableEntity, "this very process")
	select {
	case err := <-ended:
		t.Fatalf("the process was ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	meant := run(3, cmd.Process.Pid, start)
	b.get("/runs/"+meant).wants(t, http.StatusOK, "Stop</button>", "data-live")
	if a := b.post("/runs/"+meant+"/stop", ""); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	select {
	case err := <-ended:
		if _, is := errors.AsType[*exec.ExitError](err); !is {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the process was not ended")
	}
}

func TestARunThatAClientMakesIsEndedForIt(t *testing.T) {
	b := browse(t)
	clients := tracking.New(tracking.Options{Store: b.Meta, Registry: b.Registry, RunID: b.RunID()})
	b.handler = Handler(Options{Session: b.Session.Session, Tracking: clients})
	b.caller = caller.Caller{Name: "kim", Scopes: []caller.Scope{caller.Write}}
	made, err := clients.CreateRun(t.Context(), tracking.NewRun{ExperimentID: "0"})
	if err != nil {
		t.Fatal(err)
	}
	at := "/runs/" + made.RunID
	b.get(at).wants(t, http.StatusOK, "Stop</button>")
	if a := b.post(at+"/stop", ""); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	b.get(at).wants(t, http.StatusOK, `<span class="status FAIL">`, "stopped by kim")
	if run, err := clients.GetRun(t.Context(), made.ClientID); err != nil || run.Status() != tracking.Killed {
		t.Errorf("its client reads %q, %v", run.Status(), err)
	}
}

func TestATableOfTextsIsBounded(t *testing.T) {
	var text bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&text, "%d,%s\n", i, strings.Repeat("y,", 100))
	}
	table, more := readTable(text.String(), false)
	if !more || len(table.Rows) != previewRows || len(table.Columns) != previewCols || len(table.Rows[0]) != previewCols {
		t.Errorf("more %v, %d rows of %d", more, len(table.Rows), len(table.Columns))
	}
}
