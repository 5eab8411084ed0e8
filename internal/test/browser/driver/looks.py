"""Every page in light and dark, at three widths: nothing is reported by the browser,
nothing sticks out, nothing hinders a reader, and the first page is small."""

import re

from browsing import BASE, GUARDED, Tab, at, axe_core, check, chromium, found, want

WIDTHS = (400, 900, 1400)
FIRST_PAGE = 200 << 10  # bytes, as they travel

OVERFLOW = """() => {
  const room = document.documentElement.clientWidth, over = document.documentElement.scrollWidth - room;
  if (over <= 0) return null;
  const out = [...document.querySelectorAll("body *")].filter((el) => el.getBoundingClientRect().right > room + 1 && !el.closest(".scroll, pre, .visually-hidden"));
  return over + " px: " + out.slice(0, 4).map((el) => el.tagName.toLowerCase() + "." + el.className + " " + (el.textContent || "").trim().slice(0, 40)).join(" | ");
}"""

# Resolves when the window has the width and what observes sizes has been told.
DRAWN = """(width) => new Promise((done) => {
  const frame = () => requestAnimationFrame(() => {
    if (innerWidth !== width) return frame();
    requestAnimationFrame(() => requestAnimationFrame(() => done()));
  });
  document.fonts.ready.then(frame);
})"""

OUTLINE = """() => {
  const heads = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
  return {
    title: document.title, lang: document.documentElement.lang,
    main: document.querySelectorAll("main").length, nav: document.querySelectorAll("nav").length,
    h1: heads.filter((h) => h.tagName === "H1").length, empty: heads.filter((h) => !h.textContent.trim()).length,
  };
}"""

AXE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter((v) => v.impact === "serious" || v.impact === "critical")
  .map((v) => v.impact + " " + v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0] ? n.any[0].message.slice(0, 160) : "")).join(" | "))"""

# What stands in the source of a page and would need a weaker policy.
INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=\s*[\"']|javascript:", re.I)


def pages():
    """Name, path, status and where to look for what a page draws later."""
    curve, failed = found('name = "긴-곡선"')[0], found('name = "failed"')[0]
    sweep = found('kind = "sweep"')[0]
    trials = found('kind = "backtest"')
    backtest = trials[-1]
    recommend = found('kind = "recommend"')[0]
    tab = "/runs/" + curve
    yield "runs", "/runs", 200, ""
    yield "runs-search", at("/runs", q='kind = "backtest"', columns="status, metrics.sharpe, params.portfolio.top_k"), 200, ""
    yield "runs-error", at("/runs", q='kind == "backtest" and'), 200, ".caret"
    yield "runs-none", at("/runs", q='kind = "nothing"'), 200, ""
    yield "run", tab, 200, ".plot canvas"
    yield "run-metrics", tab + "/metrics", 200, ".plot canvas"
    yield "run-params", tab + "/params", 200, ""
    yield "run-artifacts", tab + "/artifacts", 200, ""
    yield "run-artifact-html", tab + "/artifacts/report.html", 200, "iframe"
    yield "run-artifact-csv", tab + "/artifacts/table.csv", 200, "table"
    yield "run-log", tab + "/log", 200, "pre.log"
    yield "run-code", tab + "/code", 200, ""
    yield "run-failed", "/runs/" + failed, 200, ".failure"
    yield "run-failed-log", "/runs/" + failed + "/log", 200, "pre.log"
    yield "run-recommend", "/runs/" + recommend, 200, ""
    yield "run-lineage", "/runs/" + backtest + "/lineage", 200, ".graph svg"
    yield "compare", "/compare", 200, ""
    yield "compare-2", at("/compare", run=trials[:2]), 200, "table"
    yield "compare-4", at("/compare", run=trials[:4]), 200, "table"
    yield "compare-500", at("/compare", q='kind = "mlflow"'), 200, "[data-parallel] canvas, [data-parallel] svg"
    yield "sweep", "/runs/" + sweep + "/sweep", 200, "table"
    yield "strategies", "/strategies", 200, "table"
    yield "strategy", "/strategies/momentum_demo", 200, ""
    yield "backtests", "/backtests", 200, "table"
    yield "backtest", "/backtests/" + backtest, 200, "[data-plot] canvas"
    yield "factors", "/factors", 200, "table"
    yield "factor-report", at("/factors/report", feature="ret_20d@v1", label="fwd_ret_60d@v1"), 200, "[data-plot] canvas"
    yield "models", "/models", 200, "table"
    yield "model", "", 200, ""
    yield "data", "/data", 200, "table"
    yield "symbol", "/data/AAPL", 200, "canvas"
    yield "jobs", "/jobs", 200, "table"
    yield "jobs-failed", at("/jobs", state="failed"), 200, "table"
    yield "jobs-none", at("/jobs", state="retrying"), 200, ".empty"
    yield "job", "/jobs/2", 200, "table"
    yield "job-waits", "/jobs/3", 200, ""
    yield "no-job", "/jobs/999", 404, ".failure"
    yield "sql", "/sql", 200, ""
    yield "sql-result", at("/sql", q="SELECT ts, close FROM ohlcv WHERE symbol = 'AAPL' ORDER BY ts LIMIT 50"), 200, "[data-sql-rows]"
    yield "sql-error", at("/sql", q="SELECT nothing_like_that FROM ohlcv"), 200, "#result .failure"
    yield "no-page", "/nothing/like/that", 404, ""
    yield "api-docs", "/api/v1/docs", 200, ""


def looked_at(tab, name, path, status, drawn, theme, axe):
    with check(f"{name}-{theme}", tab) as wrong:
        widths = WIDTHS if theme == "dark" else WIDTHS[::-1]
        tab.page.set_viewport_size({"width": widths[0], "height": 900})
        answer = tab.go(path, status)
        if theme == "light" and name != "api-docs":  # whose policy lets styles be, and no script
            wrong += [f"inline in the source: {m.group(0)[:80]}" for m in INLINE.finditer(answer.text())]
        if drawn:
            tab.expected += 1
            tab.page.wait_for_selector(drawn, state="attached")
        outline = tab.page.evaluate(OUTLINE)
        for member, ok in {"title": outline["title"], "lang": outline["lang"] == "en", "main": outline["main"] == 1, "h1": outline["h1"] == 1, "empty": not outline["empty"], "nav": outline["nav"] or name in ("login", "api-docs")}.items():
            if not ok:
                wrong.append(f"landmarks and headings, {member}: {outline}")
        tab.page.evaluate(axe)
        for width in widths:
            tab.page.set_viewport_size({"width": width, "height": 900})
            tab.page.evaluate(DRAWN, width)  # charts follow
            over = tab.page.evaluate(OVERFLOW)
            if over:
                wrong.append(f"sticks out at {width} px by {over}")
            tab.shot(f"{name}-{theme}-{width}")
            if theme == "light" or width == 400:  # rules of layout at every width, of colours in both themes
                wrong += [f"at {width} px {v}" for v in tab.page.evaluate(AXE)]


def first_page(browser):
    tab = Tab(browser)
    with check("first-page-is-small", tab):
        answers = []
        tab.page.on("requestfinished", lambda r: answers.append(r))
        tab.go("/")
        tab.page.wait_for_load_state("networkidle")
        sizes = {r.url.removeprefix(BASE): (s["responseBodySize"] + s["responseHeadersSize"]) for r in answers for s in [r.sizes()]}
        want(len(sizes) >= 4 and 0 < sum(sizes.values()) < FIRST_PAGE, f"{sum(sizes.values())} bytes: {sizes}")
    tab.close()


def main():
    axe = axe_core()
    all_pages = list(pages())
    with chromium() as browser:
        first_page(browser)
        for theme in ("light", "dark"):
            tab = Tab(browser, theme)
            tab.go("/models")
            model = tab.page.get_attribute('main a[href^="/models/"]', "href")
            for name, path, status, drawn in all_pages:
                looked_at(tab, name, path or model, status, drawn, theme, axe)
            tab.close()
            tab = Tab(browser, theme, base=GUARDED)
            looked_at(tab, "login", "/login", 200, "", theme, axe)
            tab.close()


main()
