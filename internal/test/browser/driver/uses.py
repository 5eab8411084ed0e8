"""What somebody does on the pages, by mouse and keyboard, and what comes of it."""

import csv
import json
import os

from browsing import GUARDED, Tab, at, check, chromium, found, quant, start, want

ROW = "#runs table[data-rows] tbody tr"


def searching(tab):
    page = tab.page
    with check("a search is completed", tab):
        tab.go("/runs")
        page.keyboard.press("/")
        want(page.evaluate("document.activeElement.name") == "q", "/ does not lead to the search")
        page.keyboard.type('status = "FAIL" and ki')
        tab.until("kind is offered", "[...document.querySelectorAll('.offers:not([hidden]) li')].map((li) => li.textContent).join(' ')", "kind")
        page.keyboard.press("Tab")
        want(page.input_value("[name=q]") == 'status = "FAIL" and kind', page.input_value("[name=q]"))
        page.keyboard.type(' = "exec"')
        page.keyboard.press("Enter")
        page.wait_for_url("**/runs?q=*")
        rows = page.locator(ROW)
        want(rows.count() == 3 and "failed" in rows.last.inner_text(), f"{rows.count()} rows")  # after both attempts of a job
    with check("a mistake in a search is shown where it is", tab):
        tab.go(at("/runs", q="kind = "))
        said = tab.text(".failure pre.caret")
        query, caret = said.rstrip().splitlines()[-2:]
        want("kind =" in query and caret.strip() == "^" and caret.index("^") >= query.index("kind") + 6, said)
        want(page.get_attribute("[name=q]", "aria-invalid") == "true", "the field is not marked")


def sorting(tab):
    page = tab.page
    with check("a column sorts, both ways, and back and forward keep the view", tab):
        tab.go(at("/runs", q='kind = "backtest"', columns="metrics.sharpe"))

        def figures():
            return [float(s.split()[0]) for s in page.locator(ROW + " td.num").all_inner_texts()]

        page.click("#runs thead a")
        page.wait_for_selector("#runs th[aria-sort]")
        first, one = figures(), page.url
        page.click("#runs thead a")
        tab.until("the other order", "location.href !== " + json.dumps(one))
        page.wait_for_selector("#runs th[aria-sort]")
        second = figures()
        want(len(first) > 3 and sorted(first) in (first, first[::-1]) and second == first[::-1], f"{first} {second}")
        page.go_back()
        want(page.url == one and figures() == first, "back")
        page.go_forward()
        want(figures() == second, "forward")
        want(page.input_value("[name=q]") == 'kind = "backtest"', "the query is lost")


def choosing(tab):
    page = tab.page
    with check("two runs are chosen and compared", tab):
        tab.go(at("/runs", q='kind = "backtest"'))
        want(page.is_disabled("[data-chosen]"), "nothing is chosen, and Compare can be pressed")
        boxes = page.locator(ROW + " input[type=checkbox]")
        boxes.nth(0).check()
        boxes.nth(1).check()
        want(tab.text("[data-chosen]") == "Compare 2", tab.text("[data-chosen]"))
        ids = [boxes.nth(i).get_attribute("value") for i in range(2)]
        page.click("[data-chosen]")
        page.wait_for_url("**/compare?*")
        want(tab.text("h1") == "Compare 2 runs" and all(i in page.url for i in ids), page.url)
        want("sharpe" in tab.text("table.compared"), "no sharpe")
    with check("keys walk through the rows, choose and open one", tab):
        tab.go("/runs")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        want(page.evaluate(f"[...document.querySelectorAll('table[data-rows] tbody tr')].findIndex((tr) => tr.classList.contains('at'))") == 1, "the second row is not the one")
        page.keyboard.press("x")
        want(page.locator("table[data-rows] tbody tr.at input").first.is_checked(), "x does not choose it")
        href = page.locator("table[data-rows] tbody tr.at a").first.get_attribute("href")
        page.keyboard.press("Enter")
        page.wait_for_url("**" + href)
        page.keyboard.press("?")
        want(page.is_visible("#keys[open]"), "? does not list the keys")
        page.keyboard.press("Escape")
        want(not page.is_visible("#keys"), "Escape does not close them")
        page.keyboard.press("g")
        page.keyboard.press("q")
        page.wait_for_url("**/sql")


def theme(tab):
    page = tab.page
    with check("the theme that is chosen stays", tab):
        tab.go("/runs")
        was = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("[data-theme-toggle]")
        now = page.evaluate("getComputedStyle(document.body).backgroundColor")
        want(was != now and page.evaluate("document.documentElement.dataset.theme") == "dark", f"{was} {now}")
        tab.go("/data")
        want(page.evaluate("getComputedStyle(document.body).backgroundColor") == now, "the next page is light")
        page.keyboard.press("t")
        want(page.evaluate("getComputedStyle(document.body).backgroundColor") == was, "t does not change it back")


def live(tab):
    page = tab.page
    with check("a run that another process records appears by itself", tab):
        tab.go("/runs")
        boxes = page.locator(ROW + " input[type=checkbox]")
        boxes.nth(2).check()
        chosen = boxes.nth(2).get_attribute("value")
        run = start("exec", "--name", "살아있는", "--", "sh", "-c", "i=0; while test $i -lt 400; do echo tick $i; i=$((i+1)); sleep 0.05; done")
        tab.until("the row appears", "[...document.querySelectorAll('#runs tr')].some((tr) => tr.textContent.includes('살아있는') && tr.textContent.includes('RUNNING'))")
        want(page.is_checked(f'#runs input[value="{chosen}"]'), "what was chosen is no more")
    with check("a log is followed while it grows, and the end of the run is seen", tab):
        page.locator("#runs tr", has_text="살아있는").first.locator("a").first.click()
        page.wait_for_url("**/runs/*")
        page.click("nav.tabs >> text=Log")
        page.wait_for_url("**/log")
        tab.until("lines come", "(document.querySelector('pre.log').textContent.match(/tick/g) || []).length > 3")
        before = page.evaluate("document.querySelector('pre.log').textContent.length")
        tab.until("more lines come", f"document.querySelector('pre.log').textContent.length > {before + 20}")
        want(page.evaluate("document.querySelector('pre.log').scrollTop + document.querySelector('pre.log').clientHeight >= document.querySelector('pre.log').scrollHeight - 40"), "the end is not in sight")
        page.on("dialog", lambda d: d.accept())
        page.click("text=Stop")
        run.wait(30)
        tab.until("it is no longer RUNNING", "!document.querySelector('#head').textContent.includes('RUNNING')")


def chart(tab):
    page = tab.page
    with check("dragging over a chart zooms, a double click shows all again", tab):
        tab.go("/runs/" + found('name = "긴-곡선"')[0] + "/metrics")
        page.wait_for_selector(".chart canvas")
        extent = "(() => { const u = [...document.querySelectorAll('[data-chart]')][0].quantChart?.plot; return u && u.scales.x.max - u.scales.x.min; })()"
        whole = tab.until("the chart has points", extent)
        box = page.locator(".chart .u-over").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=8)
        page.mouse.up()
        tab.until("it is zoomed", f"{extent} < {whole * 0.5}")
        page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 50)
        tab.until("all is shown", f"{extent} >= {whole * 0.99}")
        page.select_option("[data-axis]", "time")
        page.check("[data-log]")
        tab.shot("chart-log-time")


def acting(tab):
    page = tab.page
    run = found('name = "failed"')[0]

    def shown():
        return json.loads(quant("runs", "show", run, "--output", "json"))

    with check("a tag and a note are added by forms, and taken away", tab):
        tab.go("/runs/" + run)
        page.fill("[aria-label='Name of the tag']", "까닭")
        page.fill("[aria-label='Value of the tag']", "<b>모양</b>")
        page.click("button:text-is('Tag')")
        page.wait_for_selector("#tags .chip:has-text('까닭')")
        want("<b>모양</b>" in tab.text("#tags"), tab.text("#tags"))
        page.fill("[aria-label='A note']", "shapes must fit\n둘째 줄")
        page.click("text=Add note")
        page.wait_for_selector("#notes .remark")
        want("둘째 줄" in tab.text("#notes"), tab.text("#notes"))
        text = json.dumps(shown(), ensure_ascii=False)
        want("까닭" in text and "둘째 줄" in text, "the lab has neither")
        page.click("[aria-label='Take the tag 까닭 away']")
        tab.until("the tag is away", "!document.querySelector('#tags').textContent.includes('까닭')")
        want("까닭" not in json.dumps(shown()["tags"], ensure_ascii=False), "the lab still has it")
    with check("a run is starred, deleted and restored", tab):
        tab.go("/runs/" + run)
        page.click("text=☆ Star")
        page.wait_for_selector("text=★ Starred")
        page.click("text=★ Starred")
        page.wait_for_selector("text=☆ Star")
        page.click("#head >> text=Delete")
        page.wait_for_selector("#head >> text=Restore")
        want(run not in found('name = "failed"'), "a search still finds it")
        page.click("#head >> text=Restore")
        page.wait_for_selector("#head >> text=Delete")
        want(run in found('name = "failed"'), "a search does not find it again")
    with check("each of these is a recorded run", tab):
        kinds = {r["kind"] for r in json.loads(quant("runs", "search", 'kind != "mlflow" and started > -1h', "--all", "--limit", "0", "--output", "json"))}
        missing = {"log.tag", "log.note", "runs.delete", "runs.restore"} - kinds
        want(not missing, f"no run of kind {missing} in {sorted(kinds)}")


def querying(tab):
    page, folder = tab.page, os.environ["DOWNLOADS"]
    with check("Ctrl+Enter runs a query, and a mistake is shown where it is", tab):
        tab.go("/sql")
        page.fill("[name=q]", "SELECT symbol, count(*) AS bars FROM ohlcv\nGROUP BY symbol ORDER BY symbol")
        page.focus("[name=q]")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#result table")
        want("AAPL" in tab.text("#result"), tab.text("#result"))
        tab.until("the address has the query", "location.search.includes('GROUP')")
    with check("a result is downloaded", tab):
        for form, name in ("CSV", "result.csv"), ("Parquet", "result.parquet"), ("JSON", "result.json"):
            with page.expect_download() as waiting:
                page.click(f"#result >> text={form}")
            waiting.value.save_as(os.path.join(folder, name))
        with open(os.path.join(folder, "result.csv"), newline="", encoding="utf-8") as f:
            want(next(csv.reader(f)) == ["symbol", "bars"], "the heads of the CSV")
        with open(os.path.join(folder, "result.json"), encoding="utf-8") as f:
            want("AAPL" in json.dumps(json.load(f)), "the JSON")
    with check("a mistake in a query has its line and its caret", tab):
        tab.expected = 1
        page.fill("[name=q]", "SELECT symbol\nFROM no_such_table")
        page.focus("[name=q]")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#result .failure")
        said = tab.text("#result .failure")
        want("line 2" in said and "^" in said, said)
        tab.go("/data")
        tab.expected = 1
        page.go_back()
        page.wait_for_selector("#result .failure")
        want("no_such_table" in page.input_value("[name=q]"), "back does not show the query")
    with check("a query that would write is refused", tab):
        tab.expected = 1
        tab.go(at("/sql", q="DROP TABLE ohlcv"))
        page.wait_for_selector("#result .failure")
        want("AAPL" in quant("sql", "SELECT DISTINCT symbol FROM ohlcv", "--output", "csv"), "the table is gone")


def artifact(tab):
    page = tab.page
    with check("a page that a run wrote is shown, and kept apart", tab):
        tab.go("/runs/" + found('name = "긴-곡선"')[0] + "/artifacts/report.html")
        inside = page.frame_locator("iframe").locator("body")
        inside.wait_for()
        want("보고서" in inside.inner_text(), inside.inner_text())
        want(page.title() != "escaped", "its script reached the page around it")


def queueing(tab):
    page = tab.page
    with check("a job is shown with its attempts, each of which leads to its run", tab):
        tab.go("/jobs")
        page.click("nav.tabs a:has-text('failed')")
        page.wait_for_url("**/jobs?state=failed")
        page.click("table[data-rows] tbody a")
        page.wait_for_url("**/jobs/2")
        rows = page.locator("table[data-rows] tbody tr")
        want(rows.count() == 2 and "exit status 3" in rows.first.inner_text(), f"{rows.count()} attempts")
        rows.first.locator("a").first.click()
        page.wait_for_url("**/runs/*")
        want("exit status 3" in tab.text(), tab.text())
    with check("a job is cancelled and tried again, and the list follows by itself", tab):
        tab.go("/jobs/3")
        page.once("dialog", lambda d: d.accept())
        page.click("button:has-text('Cancel')")
        page.wait_for_selector(".status:has-text('cancelled')")
        page.click("button:has-text('Try again')")
        page.wait_for_selector(".status:has-text('queued')")
        acts = [r["kind"] for r in json.loads(quant("runs", "search", 'kind = "jobs.cancel" or kind = "jobs.retry"', "--columns", "kind", "--output", "json"))]
        want(sorted(acts) == ["jobs.cancel", "jobs.retry"], f"recorded: {acts}")
        tab.go("/jobs")
        want("no worker is at work" in tab.text("[data-queue]"), tab.text("[data-queue]"))
        quant("worker", "--until-empty")
        tab.until("the job is done, without a click", "document.querySelector('[data-key=job-3] .status').textContent", "succeeded")
        want("nothing waits or runs" in tab.text("[data-queue]"), tab.text("[data-queue]"))
        want("daily" in tab.text("#schedules") and "No worker" in tab.text("#workers"), tab.text())


def logging_in(browser):
    tab = Tab(browser, base=GUARDED)
    page = tab.page

    def enter(token):
        page.fill("#token", token)
        page.click("text=Log in")

    run = found('name = "failed"')[0]
    with check("a token that is none is refused, one that is leads on", tab):
        tab.go("/runs/" + run)
        want("/login" in page.url, page.url)
        tab.expected = 1
        enter("quant_wrong")
        page.wait_for_selector("[role=alert]")
        enter(os.environ["WRITE_TOKEN"])
        page.wait_for_url("**/runs/" + run)
        want(page.locator("text=Delete").count() == 1, "who may write has no button")
    tab.close()
    tab = Tab(browser, base=GUARDED)
    page = tab.page
    with check("a token that reads has no button that changes", tab):
        tab.go("/runs/" + run)
        enter(os.environ["READ_TOKEN"])
        page.wait_for_url("**/runs/" + run)
        want(page.locator("main form[method=post]").count() == 0, "there is a form that changes")
        want("Delete" not in tab.text() and "Add note" not in tab.text(), tab.text())
        tab.expected = 1
        want(page.evaluate(f"fetch('/runs/{run}/star', {{method: 'POST'}}).then((r) => r.status)") == 403, "it is not refused")
        tab.go("/jobs/2")
        want(page.locator("main form[method=post]").count() == 0, "a job has a form that changes")
        tab.expected += 1
        want(page.evaluate("fetch('/jobs/2/retry', {method: 'POST'}).then((r) => r.status)") == 403, "to retry is not refused")
    tab.close()


def main():
    with chromium() as browser:
        tab = Tab(browser)
        searching(tab)
        sorting(tab)
        choosing(tab)
        theme(tab)
        live(tab)
        chart(tab)
        acting(tab)
        querying(tab)
        artifact(tab)
        queueing(tab)
        tab.close()
        logging_in(browser)


main()
