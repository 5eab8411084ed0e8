"use strict";
// Charts, drawn by uPlot. An element with data-chart names the address of a document
//   {"title": ..., "note": ..., "series": [{"name": ..., "step": [...], "time": [...], "y": [...]}]}
// (or has the document itself in data-chart-document) and holds an element .plot;
// data-again asks for it every few seconds. time is in seconds since 1970; a value
// that is null is a gap. data-chart-controls chooses the axis, a logarithmic scale and
// smoothing for all charts of the page.
(function () {
  const charts = new Set();
  const settings = { axis: "step", log: false, smooth: 0 };

  // ema smooths as TensorBoard does: an exponential mean without the pull to zero.
  function ema(values, weight) {
    let last = 0, n = 0;
    return values.map((v) => {
      if (v == null) return v;
      last = last * weight + (1 - weight) * v;
      n++;
      return last / (1 - Math.pow(weight, n));
    });
  }

  // aligned puts all series on one axis, in its order.
  function aligned(doc) {
    const time = settings.axis === "time" || doc.series.every((s) => !s.step);
    const xs = new Set(), maps = [];
    for (const s of doc.series) {
      const x = (time ? s.time : s.step) || [], m = new Map();
      x.forEach((at, i) => { xs.add(at); m.set(at, s.y[i]); });
      maps.push(m);
    }
    const all = [...xs].sort((a, b) => a - b);
    return { time, x: all, ys: maps.map((m) => all.map((at) => { const v = m.get(at); return v === undefined ? undefined : v; })) };
  }

  function short(v) {
    if (v == null) return "";
    const a = Math.abs(v);
    if (a !== 0 && (a < 1e-3 || a >= 1e6)) return v.toExponential(2);
    return String(+v.toPrecision(5));
  }

  function draw(chart) {
    const { el, doc } = chart, plot = el.querySelector(".plot");
    if (!doc) return;
    if (chart.plot) chart.plot.destroy();
    const data = aligned(doc), line = quant.color("line"), soft = quant.color("soft");
    const series = [{ label: data.time ? "time" : "step", value: data.time ? undefined : (u, v) => (v == null ? "" : v.toLocaleString("en")) }], columns = [data.x];
    doc.series.forEach((s, i) => {
      let y = data.ys[i];
      if (settings.log) y = y.map((v) => (v != null && v <= 0 ? null : v));
      const stroke = quant.color("c" + (i % 8 + 1)), smooth = settings.smooth > 0;
      if (smooth) {
        series.push({ label: s.name + " (raw)", stroke, width: 1, alpha: 0.25, spanGaps: false, points: { show: false } });
        columns.push(y);
        y = ema(y, settings.smooth);
      }
      series.push({ label: s.name, stroke, width: 1.5, value: (u, v) => short(v), points: { show: data.x.length < 3 } });
      columns.push(y);
    });
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
    chart.plot = new uPlot({
      width: plot.clientWidth, height: +el.dataset.height || 180,
      legend: { show: doc.series.length <= 12, live: true },
      cursor: { sync: { key: data.time ? "time" : "step" }, drag: { x: true, y: false } },
      scales: { x: { time: data.time }, y: { distr: settings.log ? 3 : 1 } },
      axes: [Object.assign({ size: 30, values: data.time ? undefined : (u, list) => list.map((v) => (v >= 1e5 ? short(v) : v)) }, axis), Object.assign({ size: 54, values: (u, list) => list.map(short) }, axis)],
      series,
    }, columns, plot);
    const note = el.querySelector(".chart-note");
    if (note) note.textContent = doc.note ? "shown: " + doc.note : doc.series.map((s) => s.y.length.toLocaleString("en")).join(" + ") + (doc.series.length === 1 && doc.series[0].y.length === 1 ? " point" : " points");
    const values = doc.series.length === 1 ? doc.series[0].y.filter((v) => v != null) : [];
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", doc.title + (values.length ? ": from " + short(values[0]) + " to " + short(values[values.length - 1]) + ", least " + short(values.reduce((a, b) => Math.min(a, b))) + ", greatest " + short(values.reduce((a, b) => Math.max(a, b))) : ""));
  }

  async function load(chart) {
    const { el } = chart;
    if (el.dataset.chartDocument) {
      chart.doc = JSON.parse(el.dataset.chartDocument);
      draw(chart);
      return;
    }
    try {
      const answer = await fetch(el.dataset.chart, { headers: chart.tag ? { "If-None-Match": chart.tag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        chart.tag = answer.headers.get("ETag");
        chart.doc = await answer.json();
        draw(chart);
      } else if (answer.status !== 304 && !chart.doc) {
        const note = el.querySelector(".chart-note");
        if (note && !("again" in el.dataset)) note.textContent = "the points could not be read (" + answer.status + ")";
      }
    } catch (e) { /* asked again, or the page is left */ }
    if ("again" in el.dataset) setTimeout(() => { if (el.isConnected) load(chart); }, document.visibilityState === "visible" ? 5000 : 15000);
  }

  const seen = new IntersectionObserver((entries) => {
    for (const e of entries) if (e.isIntersecting) { seen.unobserve(e.target); load(e.target.quantChart); }
  }, { rootMargin: "300px" });
  const sized = new ResizeObserver((entries) => {
    for (const e of entries) {
      const chart = e.target.closest("[data-chart], [data-chart-document]").quantChart;
      if (chart.plot && chart.plot.width !== e.target.clientWidth) chart.plot.setSize({ width: e.target.clientWidth, height: chart.plot.height });
    }
  });
  quant.each("[data-chart], [data-chart-document]", (el) => {
    const chart = { el, doc: null, plot: null };
    el.quantChart = chart;
    charts.add(chart);
    seen.observe(el);
    sized.observe(el.querySelector(".plot"));
  });

  function redraw() {
    for (const chart of charts) {
      if (chart.el.isConnected) draw(chart);
      else { if (chart.plot) chart.plot.destroy(); charts.delete(chart); }
    }
  }
  document.addEventListener("quant:theme", redraw);
  quant.each("[data-chart-controls]", (el) => {
    el.hidden = false;
    const axis = el.querySelector("[data-axis]"), log = el.querySelector("[data-log]"), smooth = el.querySelector("[data-smooth]");
    el.addEventListener("input", () => {
      if (axis) settings.axis = axis.value;
      if (log) settings.log = log.checked;
      if (smooth) settings.smooth = +smooth.value;
      redraw();
    });
  });
})();
