"use strict";
// The drawings of a comparison: courses of metrics, parallel coordinates, scatter.
(function () {
  const root = document.documentElement;
  const shade = () => root.toggleAttribute("data-dark", quant.dark());
  shade();
  document.addEventListener("quant:theme", shade);

  const format = (v) => v === 0 ? "0" : Math.abs(v) >= 1e6 || Math.abs(v) < 1e-4 ? v.toExponential(2) : String(+v.toPrecision(5));

  // ---- Courses: a metric of several runs, asked for once it comes into view.
  const palette = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
  const controls = document.querySelector("[data-course-controls]");
  const setting = () => ({
    x: controls.querySelector("[name=course-x]:checked").value,
    log: controls.querySelector("[data-course-log]").checked,
    smooth: +controls.querySelector("[data-course-smooth]").value,
  });

  // smoothed is an exponential mean without the pull of its beginning towards 0.
  function smoothed(ys, weight) {
    if (!weight) return ys;
    let mean = 0, sum = 0;
    return ys.map((y) => {
      if (y == null) return y;
      mean = weight * mean + (1 - weight) * y;
      sum = weight * sum + (1 - weight);
      return mean / sum;
    });
  }

  // A run has the same line in every chart.
  const places = new Map();
  function look(id) {
    if (!places.has(id)) places.set(id, places.size);
    const i = places.get(id), round = Math.floor(i / palette.length);
    return { stroke: quant.color(palette[i % palette.length]), dash: round ? [2 + 2 * round, 3] : [] };
  }
  const inKey = 8;

  function course(figure) {
    const place = figure.querySelector(".plot"), note = figure.querySelector("[data-note]");
    const said = document.createElement("div");
    const key = document.createElement("div");
    said.className = "plotted";
    key.className = "key";
    place.after(said, key);
    let doc = null, plot = null, asked = "";

    function draw() {
      if (!doc) return;
      const s = setting();
      const tables = doc.lines.map((l) => [l.x, smoothed(l.y, s.smooth).map((y) => s.log && y <= 0 ? null : y)]);
      const data = tables.length ? uPlot.join(tables.map(unique)) : [[], []];
      if (plot) plot.destroy();
      const grid = { stroke: quant.color("line"), width: 1 }, axis = { stroke: quant.color("soft"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
      plot = new uPlot({
        width: Math.max(220, place.clientWidth), height: 230, legend: { show: false },
        cursor: { focus: { prox: 24 }, points: { size: 5 } }, focus: { alpha: 0.25 },
        scales: { x: { time: false }, y: { distr: s.log ? 3 : 1 } },
        axes: [{ ...axis, values: s.x === "time" ? (u, vs) => vs.map(seconds) : (u, vs) => vs.map(format) }, { ...axis, size: 58, values: (u, vs) => vs.map((v) => v == null ? "" : format(v)) }],
        series: [{}].concat(doc.lines.map((l, i) => ({
          label: l.label, ...look(l.id), width: 1.4, spanGaps: true, points: { show: l.x.length === 1 },
        }))),
        hooks: {
          setSeries: [(u, i) => { said.textContent = i ? doc.lines[i - 1].label : ""; }],
          setCursor: [(u) => {
            const at = u.cursor.idx, i = u.series.findIndex((one, n) => n > 0 && one._focus);
            if (at == null) said.textContent = "";
            else if (i > 0 && u.data[i][at] != null) said.textContent = doc.lines[i - 1].label + ": " + format(u.data[i][at]) + " at " + (s.x === "time" ? seconds(u.data[0][at]) : format(u.data[0][at]));
          }],
        },
      }, data, place);
      key.replaceChildren(...doc.lines.slice(0, doc.lines.length > inKey ? 0 : inKey).map((l) => {
        const a = document.createElement("a"), { stroke, dash } = look(l.id);
        a.href = "/runs/" + l.id;
        a.append(element("svg", { viewBox: "0 0 18 8", "aria-hidden": "true" }, element("line", { x1: 0, x2: 18, y1: 4, y2: 4, stroke, "stroke-dasharray": dash.join(" ") })), l.label);
        return a;
      }));
      if (doc.lines.length > inKey && !said.textContent) said.textContent = "Point at a line to see which run it is.";
    }

    async function ask() {
      const s = setting();
      if (asked === s.x) return draw();
      asked = s.x;
      try {
        const answer = await fetch(figure.dataset.course + "&x=" + s.x + "&metric=" + encodeURIComponent(figure.dataset.metric));
        if (!answer.ok) throw new Error(answer.status);
        doc = await answer.json();
        note.textContent = doc.note;
        draw();
      } catch (e) {
        asked = "";
        note.textContent = "It could not be read.";
      }
    }
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      seen.disconnect();
      ask();
      controls.addEventListener("input", ask);
      document.addEventListener("quant:theme", draw);
      new ResizeObserver(() => { if (plot && Math.abs(plot.width - place.clientWidth) > 4) plot.setSize({ width: Math.max(220, place.clientWidth), height: 230 }); }).observe(figure);
    }, { rootMargin: "200px" });
    seen.observe(figure);
  }

  // unique keeps the last of several points at one place, as uPlot wants x to grow.
  function unique([xs, ys]) {
    const x = [], y = [];
    const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b] || a - b);
    for (const i of order) {
      if (x.length && x[x.length - 1] === xs[i]) y[y.length - 1] = ys[i];
      else { x.push(xs[i]); y.push(ys[i]); }
    }
    return [x, y];
  }
  function seconds(s) {
    if (Math.abs(s) < 120) return format(s) + "s";
    if (Math.abs(s) < 7200) return format(Math.round(s / 6) / 10) + "m";
    return format(Math.round(s / 360) / 10) + "h";
  }
  quant.each("[data-course]", course);

  // ---- What many runs are drawn from.
  const held = document.getElementById("compared");
  if (!held) return;
  const data = JSON.parse(held.dataset.values), columns = data.columns, runs = data.runs;
  const column = (name) => columns.find((c) => c.name === name);

  // scale maps the values of a column to [0, 1]; texts stand at even distances.
  function scale(c) {
    const has = c.values.filter((v) => v != null);
    if (has.every((v) => typeof v === "number")) {
      const low = Math.min(...has), high = Math.max(...has);
      const to = (v) => v == null ? null : high > low ? (v - low) / (high - low) : 0.5;
      const few = [...new Set(has)].sort((a, b) => a - b);
      return { to, ticks: (!c.metric && few.length <= 8 ? few : ticks(low, high)).map((v) => [to(v), format(v)]), numeric: true };
    }
    const names = [...new Set(has.map(String))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const to = (v) => v == null ? null : names.length > 1 ? names.indexOf(String(v)) / (names.length - 1) : 0.5;
    return { to, ticks: names.map((n) => [to(n), n]), numeric: false };
  }
  function ticks(low, high) {
    if (!(high > low)) return [low];
    const step = 10 ** Math.floor(Math.log10((high - low) / 4)), wide = (high - low) / 4 / step;
    const by = step * (wide >= 5 ? 5 : wide >= 2 ? 2 : 1), all = [];
    for (let v = Math.ceil(low / by - 1e-9) * by; v <= high + by * 1e-6; v += by) all.push(Math.abs(v) < by * 1e-9 ? 0 : v);
    return all.length ? all : [low, high];
  }
  const level = (at) => at == null ? "" : "l" + Math.min(8, Math.floor(9 * at));

  function element(name, attributes, ...inside) {
    const el = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attributes)) el.setAttribute(k, v);
    el.append(...inside);
    return el;
  }
  function text(x, y, words, attributes) {
    const el = element("text", { x, y, ...attributes });
    el.textContent = words;
    return el;
  }
  const clip = (s, n) => s.length > n ? s.slice(0, n - 1) + "…" : s;
  const short = (name) => name.replace(/^(params|metrics)\./, "");

  // ---- Which runs are kept by what is drawn on the axes.
  const kept = new Map(); // column -> [low, high]
  const watchers = [];
  function isKept(i) {
    for (const [c, [low, high]] of kept) {
      const at = c.scale.to(c.values[i]);
      if (at == null || at < low || at > high) return false;
    }
    return true;
  }
  for (const c of columns) c.scale = scale(c);
  const box = document.querySelector("[data-parallel]"), count = document.querySelector("[data-kept]");
  function filter() {
    let n = 0;
    const out = new Set();
    runs.forEach((r, i) => { if (isKept(i)) n++; else out.add(r.id); });
    count.textContent = kept.size ? n + " of " + runs.length + " runs are kept." : "";
    for (const tr of document.querySelectorAll("tr[data-run]")) tr.classList.toggle("faded", out.has(tr.dataset.run));
    for (const fn of watchers) fn(out);
  }

  // ---- Parallel coordinates.
  const by = column(data.by) || columns.find((c) => c.metric);
  let axes = columns.filter((c) => !c.metric).slice(0, 7);
  for (const c of columns) if (c.metric && c !== by && axes.length < 5) axes.push(c);
  axes.push(by);
  const pick = document.querySelector("[data-axes]");
  for (const c of columns) {
    const label = document.createElement("label"), tick = document.createElement("input");
    tick.type = "checkbox";
    tick.checked = axes.includes(c);
    tick.addEventListener("change", () => {
      axes = tick.checked ? axes.filter((a) => a !== by).concat(c, axes.includes(by) && c !== by ? by : []) : axes.filter((a) => a !== c);
      if (!tick.checked) kept.delete(c);
      parallel();
      filter();
    });
    label.append(tick, " " + c.name);
    pick.append(label);
  }

  let lines = [];
  function parallel() {
    const height = 320, top = 42, bottom = 18, each = 96;
    const width = Math.max(box.clientWidth || 600, axes.length * each);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
    const left = 46, right = 60, room = width - left - right, tall = height - top - bottom;
    const x = (i) => axes.length > 1 ? left + room * i / (axes.length - 1) : width / 2, y = (at) => top + tall * (1 - at);
    lines = runs.map((r, i) => {
      let path = "", gap = true;
      axes.forEach((c, k) => {
        const at = c.scale.to(c.values[i]);
        if (at == null) { gap = true; return; }
        path += (gap ? "M" : "L") + x(k).toFixed(1) + " " + y(at).toFixed(1);
        gap = false;
      });
      const line = element("path", { d: path || "M0 0", class: "run " + level(by.scale.to(by.values[i])) });
      const title = element("title", {});
      title.textContent = r.label;
      line.append(title);
      line.addEventListener("mouseenter", () => { line.classList.add("on"); line.parentNode.append(line); });
      line.addEventListener("mouseleave", () => line.classList.remove("on"));
      line.addEventListener("click", () => { location.href = "/runs/" + r.id; });
      return line;
    });
    svg.append(element("g", {}, ...lines));
    axes.forEach((c, k) => {
      const at = x(k), last = k === axes.length - 1 && k > 0;
      svg.append(element("line", { x1: at, x2: at, y1: top, y2: top + tall, class: "axis" }));
      svg.append(text(at, k % 2 && room / axes.length < 130 ? 12 : 28, clip(short(c.name), 22), { "text-anchor": k === 0 ? "start" : last ? "end" : "middle" }));
      const marks = c.scale.ticks.length > 12 ? c.scale.ticks.filter((_, i, all) => i % Math.ceil(all.length / 10) === 0) : c.scale.ticks;
      let above = -Infinity;
      for (const [v, name] of marks) if (v * tall - above >= 12 && (above = v * tall, true)) svg.append(text(at + (last ? 5 : -5), y(v) + 4, clip(name, 9), { class: "soft", "text-anchor": last ? "start" : "end" }));
      const brush = element("rect", { x: at - 7, width: 14, y: 0, height: 0, class: "brush" });
      const grab = element("rect", { x: at - 12, y: top - 4, width: 24, height: tall + 8, class: "grab" });
      const show = () => {
        const range = kept.get(c);
        brush.setAttribute("y", range ? y(range[1]) : 0);
        brush.setAttribute("height", range ? Math.max(1, y(range[0]) - y(range[1])) : 0);
      };
      grab.addEventListener("pointerdown", (e) => {
        e.preventDefault();
        grab.setPointerCapture(e.pointerId);
        const where = (e) => Math.min(1, Math.max(0, 1 - ((e.clientY - svg.getBoundingClientRect().top) * height / svg.getBoundingClientRect().height - top) / tall));
        const from = where(e);
        const move = (e) => {
          const to = where(e);
          if (Math.abs(to - from) > 0.015) kept.set(c, [Math.min(from, to), Math.max(from, to)]);
          show();
          filter();
        };
        const end = (e) => {
          if (Math.abs(where(e) - from) <= 0.015) kept.delete(c);
          show();
          filter();
          grab.removeEventListener("pointermove", move);
        };
        grab.addEventListener("pointermove", move);
        grab.addEventListener("pointerup", end, { once: true });
      });
      svg.append(brush, grab);
      show();
    });
    box.replaceChildren(svg);
  }
  watchers.push((out) => runs.forEach((r, i) => {
    if (lines[i].classList.toggle("out", out.has(r.id))) lines[i].parentNode.prepend(lines[i]);
  }));

  // ---- Scatter.
  const spot = document.querySelector("[data-scatter]");
  const [inX, inY, inC] = ["x", "y", "c"].map((k) => document.querySelector("[data-scatter-" + k + "]"));
  for (const select of [inX, inY, inC]) for (const c of columns) select.append(new Option(c.name, c.name));
  const other = columns.find((c) => !c.metric && c.scale.numeric) || columns.find((c) => c !== by);
  inX.value = other.name;
  inY.value = by.name;
  inC.value = (columns.find((c) => c !== by && c !== other && !c.metric) || by).name;
  let dots = [];
  function scatter() {
    const width = Math.max(280, spot.clientWidth || 600), height = 340, left = 64, right = 16, top = 12, bottom = 44;
    const cx = column(inX.value), cy = column(inY.value), cc = column(inC.value);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
    const x = (at) => left + 8 + (width - left - right - 16) * at, y = (at) => top + 8 + (height - top - bottom - 16) * (1 - at);
    let before = -Infinity;
    for (const [at, name] of cx.scale.ticks) {
      svg.append(element("line", { x1: x(at), x2: x(at), y1: top, y2: height - bottom, class: "rule" }));
      if (x(at) - before > 46) { svg.append(text(x(at), height - bottom + 16, clip(name, 9), { class: "soft", "text-anchor": "middle" })); before = x(at); }
    }
    let above = -Infinity;
    for (const [at, name] of cy.scale.ticks) {
      if ((height - top - bottom) * at - above < 12) continue;
      above = (height - top - bottom) * at;
      svg.append(element("line", { x1: left, x2: width - right, y1: y(at), y2: y(at), class: "rule" }));
      svg.append(text(left - 6, y(at) + 4, clip(name, 9), { class: "soft", "text-anchor": "end" }));
    }
    svg.append(text(left + (width - left - right) / 2, height - 8, clip(short(cx.name), 60), { "text-anchor": "middle" }));
    svg.append(text(12, top + (height - top - bottom) / 2, clip(short(cy.name), 40), { "text-anchor": "middle", transform: `rotate(-90 12 ${top + (height - top - bottom) / 2})` }));
    dots = runs.map((r, i) => {
      const ax = cx.scale.to(cx.values[i]), ay = cy.scale.to(cy.values[i]);
      if (ax == null || ay == null) return null;
      const dot = element("circle", { cx: x(ax).toFixed(1), cy: y(ay).toFixed(1), r: runs.length > 200 ? 3.5 : 5, class: "dot " + level(cc.scale.to(cc.values[i])) });
      const title = element("title", {});
      const say = (c) => short(c.name) + " " + (typeof c.values[i] === "number" ? format(c.values[i]) : c.values[i]);
      title.textContent = [r.label, say(cx), say(cy), say(cc)].join("\n");
      dot.append(title);
      dot.addEventListener("click", () => { location.href = "/runs/" + r.id; });
      svg.append(dot);
      return dot;
    });
    spot.replaceChildren(svg);
    filter();
  }
  watchers.push((out) => dots.forEach((d, i) => d && d.classList.toggle("out", out.has(runs[i].id))));
  for (const select of [inX, inY, inC]) select.addEventListener("change", scatter);

  let wide = 0;
  new ResizeObserver(() => {
    if (Math.abs(spot.clientWidth - wide) < 4) return;
    wide = spot.clientWidth;
    parallel();
    scatter();
  }).observe(spot);
  wide = spot.clientWidth;
  parallel();
  scatter();
})();
