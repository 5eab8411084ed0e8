"use strict";
// The charts of the pages of facts, and the page that queries. What is drawn stands in
// data-plot and data-candles as the server made it: nothing is computed here.
(function () {
  const quant = window.quant;

  function shade(name, alpha) {
    const c = document.createElement("canvas").getContext("2d");
    c.globalAlpha = alpha;
    c.fillStyle = quant.color(name);
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(c.fillStyle.slice(i, i + 2), 16));
    return `rgba(${r}, ${g}, ${b}, ${alpha})`;
  }

  function text(v, unit) {
    if (v == null) return "–";
    if (unit === "%") return (v * 100).toFixed(2) + " %";
    if (Math.abs(v) >= 1000) return Math.round(v).toLocaleString("en-US");
    return String(+v.toPrecision(5));
  }
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
  const tick = (v, unit) => v == null ? "" : unit === "%" ? +(v * 100).toPrecision(4) + " %" : Math.abs(v) >= 1e4 ? compact.format(v) : String(+v.toPrecision(5));

  // stacked are the lines of a drawing, each standing on those before it.
  function stacked(lines) {
    const sum = [];
    return lines.map((l) => l.y.map((v, i) => (sum[i] = (sum[i] || 0) + (v || 0))));
  }

  function options(d, width) {
    const axis = { stroke: quant.color("soft"), grid: { stroke: quant.color("line"), width: 1 }, ticks: { stroke: quant.color("line"), width: 1 }, font: "12px " + getComputedStyle(document.body).fontFamily };
    const series = [{ label: d.time ? "day" : d.xname || "x", value: (u, v) => v == null ? "–" : d.time ? new Date(v * 1000).toISOString().slice(0, 10) : String(v) }];
    d.lines.forEach((l, k) => {
      const s = { label: l.name, stroke: quant.color(l.color), width: 1.5, points: { show: d.x.length < 40 && l.kind !== "bars" }, value: (u, v, i, at) => text(at == null ? null : d.lines[k].y[at], d.unit), spanGaps: true };
      if (l.kind === "dash") s.dash = [5, 4];
      if (l.kind === "area") s.fill = shade(l.color, 0.2);
      if (l.kind === "points") { s.paths = () => null; s.points = { show: true, size: 5 }; }
      if (l.kind === "bars") { s.paths = uPlot.paths.bars({ size: [0.7, 40] }); s.fill = shade(l.color, 0.55); s.points = { show: false }; }
      if (d.stack) { s.fill = shade(l.color, 0.7); s.width = 0.5; s.points = { show: false }; }
      series.push(s);
    });
    const marks = (u) => {
      const c = u.ctx, size = 5 * devicePixelRatio;
      c.save();
      for (const m of d.marks || []) {
        if (m.x < u.scales.x.min || m.x > u.scales.x.max || m.y == null) continue;
        const x = u.valToPos(m.x, "x", true), y = u.valToPos(m.y, "y", true), up = m.kind === "entry" ? 1 : -1;
        c.fillStyle = quant.color(m.kind === "entry" ? "good" : "bad");
        c.beginPath();
        c.moveTo(x, y + up * 2); c.lineTo(x - size, y + up * (size * 2)); c.lineTo(x + size, y + up * (size * 2));
        c.fill();
      }
      c.restore();
    };
    return {
      width, height: d.height || 200, series,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
      scales: { x: d.time ? { time: true } : { time: false, range: (u, lo, hi) => d.lines.some((l) => l.kind === "bars") ? [lo - 0.6, hi + 0.6] : [lo, hi] }, y: d.log ? { distr: 3 } : d.stack ? { range: (u, lo, hi) => [Math.min(0, lo), Math.max(1, hi)] } : d.lines.some((l) => l.kind === "bars") ? { range: (u, lo, hi) => uPlot.rangeNum(Math.min(0, lo), Math.max(0, hi), 0.1, true) } : {} },
      axes: [d.time ? axis : Object.assign({ incrs: d.xname ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined }, axis), Object.assign({ size: 62, values: (u, list) => list.map((v) => tick(v, d.unit)) }, axis)],
      cursor: { sync: d.sync ? { key: d.sync, setSeries: false } : undefined, drag: { x: true, y: false } },
      legend: { live: true },
      hooks: { draw: [marks] },
      bands: d.stack ? d.lines.slice(1).map((_, k) => ({ series: [k + 2, k + 1] })) : undefined,
    };
  }

  function draw(el, d) {
    let chart = null;
    const build = () => {
      if (chart) chart.destroy();
      const ys = d.stack ? stacked(d.lines) : d.lines.map((l) => l.y);
      chart = new uPlot(options(d, Math.max(240, el.clientWidth - 10)), [d.x, ...ys], el);
    };
    build();
    new ResizeObserver(() => { if (chart && Math.abs(chart.width - (el.clientWidth - 10)) > 2) chart.setSize({ width: Math.max(240, el.clientWidth - 10), height: d.height || 200 }); }).observe(el);
    document.addEventListener("quant:theme", build);
    return () => { document.removeEventListener("quant:theme", build); chart.destroy(); };
  }

  quant.each("[data-plot]", (el) => {
    const d = JSON.parse(el.dataset.plot);
    if (d.x && d.x.length) draw(el, d);
    else el.textContent = "Nothing to draw.";
  });

  quant.each("[data-candles]", (el) => {
    const lib = window.LightweightCharts, bars = JSON.parse(el.dataset.candles).bars;
    const look = () => ({
      layout: { background: { color: quant.color("raised") }, textColor: quant.color("soft"), attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { vertLines: { color: quant.color("line") }, horzLines: { color: quant.color("line") } },
      rightPriceScale: { borderColor: quant.color("line") }, timeScale: { borderColor: quant.color("line") },
    });
    const colors = () => ({ upColor: quant.color("good"), downColor: quant.color("bad"), wickUpColor: quant.color("good"), wickDownColor: quant.color("bad"), borderVisible: false });
    const chart = lib.createChart(el, Object.assign({ autoSize: true, localization: { locale: "en-US" } }, look()));
    const candle = chart.addSeries(lib.CandlestickSeries, colors());
    candle.setData(bars.map((b) => ({ time: b[0], open: b[1], high: b[2], low: b[3], close: b[4] })));
    const volume = chart.addSeries(lib.HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    const fill = () => volume.setData(bars.map((b) => ({ time: b[0], value: b[5], color: shade(b[4] >= b[1] ? "good" : "bad", 0.35) })));
    fill();
    chart.timeScale().fitContent();
    chart.timeScale().subscribeSizeChange(() => chart.timeScale().fitContent());
    document.addEventListener("quant:theme", () => { chart.applyOptions(look()); candle.applyOptions(colors()); fill(); });
  });

  // The page that queries: the address remembers the query, leaving the page ends it.
  quant.each("[data-sql]", (form) => {
    const area = form.elements.q, result = document.getElementById("result"), stop = form.querySelector("[data-sql-stop]");
    let asked = null;
    const address = () => new URLSearchParams({ q: area.value, store: form.elements.store.value });
    async function run(again) {
      if (!area.value.trim()) return;
      if (asked) asked.abort();
      const mine = asked = new AbortController();
      history.replaceState(null, "", "/sql?" + address());
      stop.hidden = false;
      const slow = setTimeout(() => { if (!again) { result.replaceChildren(note("Running …")); } }, 200);
      try {
        const r = await fetch("/sql/rows?" + address(), { signal: mine.signal, headers: { "HX-Request": "true" } });
        const html = await r.text();
        if (mine !== asked) return;
        result.innerHTML = html;
        offer();
        if (result.querySelector("[data-sql-again]")) setTimeout(() => { if (mine === asked) run(true); }, 2000);
      } catch (e) {
        if (mine === asked) result.replaceChildren(note(e.name === "AbortError" ? "Stopped." : "The server did not answer: " + e.message));
      } finally {
        clearTimeout(slow);
        if (mine === asked) stop.hidden = true;
      }
    }
    function note(words) {
      const p = document.createElement("p");
      p.className = "soft";
      p.textContent = words;
      return p;
    }
    form.addEventListener("submit", (e) => { e.preventDefault(); run(); });
    area.addEventListener("keydown", (e) => {
      if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); }
    });
    stop.addEventListener("click", () => { if (asked) asked.abort(); });
    addEventListener("pagehide", () => { if (asked) asked.abort(); });
    for (const b of form.querySelectorAll("[data-sql-try]")) b.addEventListener("click", () => { area.value = b.dataset.sqlTry; form.elements.store.value = "fact"; run(); });
    if (area.value) run();

    // offer draws what is chosen of a result.
    function offer() {
      const box = result.querySelector("[data-sql-chart]");
      if (!box) return;
      const x = box.querySelector("[data-x]"), y = box.querySelector("[data-y]"), kind = box.querySelector("[data-kind]"), at = box.querySelector("[data-sql-plot]");
      if (!y.options.length) { box.remove(); return; }
      let gone = null;
      function show() {
        if (!box.open) return;
        if (gone) gone();
        gone = null;
        at.textContent = "";
        const rows = [...result.querySelectorAll("[data-sql-rows] tbody tr")].map((tr) => [tr.cells[x.selectedIndex], tr.cells[+y.value]]);
        const number = (td) => td.classList.contains("num") ? +td.textContent : null;
        const days = rows.every(([td]) => /^\d{4}-\d\d-\d\d/.test(td.textContent));
        let points = rows.map(([a, b], i) => [days ? Date.parse(a.textContent) / 1000 : a.classList.contains("num") ? +a.textContent : i, number(b)]).filter((p) => Number.isFinite(p[0]));
        points.sort((a, b) => a[0] - b[0]);
        if (!points.length) { at.textContent = "Nothing to draw."; return; }
        gone = draw(at, { time: days, height: 260, x: points.map((p) => p[0]), lines: [{ name: y.selectedOptions[0].textContent, y: points.map((p) => p[1]), color: "c1", kind: kind.value }] });
      }
      y.value = [...y.options].some((o) => o.value === String(x.selectedIndex)) && y.options.length > 1 ? y.options[1].value : y.options[0].value;
      for (const el of [x, y, kind]) el.addEventListener("change", show);
      box.addEventListener("toggle", show);
    }
  });
})();
