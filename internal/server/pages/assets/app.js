"use strict";
// What the pages do beyond forms and links: theme, keys, charts. It is loaded in
// the head, so that the theme stands before anything is drawn.
(function () {
  const root = document.documentElement;

  function store(name, value) {
    try {
      if (value === undefined) return localStorage.getItem(name);
      localStorage.setItem(name, value);
    } catch (e) { /* no storage: the choice lasts for the page */ }
    return null;
  }

  // The address that MLflow's clients print at the end of a run.
  const printed = /^#\/experiments\/[^/]+\/runs\/([0-9a-f]{32})(\/|$)/.exec(location.hash);
  if (printed) location.replace("/runs/" + printed[1]);

  const chosen = store("quant.theme");
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  function dark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function toggleTheme() {
    root.dataset.theme = dark() ? "light" : "dark";
    store("quant.theme", root.dataset.theme);
    document.dispatchEvent(new Event("quant:theme"));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("quant:theme")));

  const quant = window.quant = {
    dark,
    // say tells those who do not see the page what changed.
    say(text) { document.getElementById("said").textContent = text; },
    // color is a variable of the style sheet.
    color(name) { return getComputedStyle(root).getPropertyValue("--" + name).trim(); },
    // each calls fn for every element of a selector, now and in what is put into the page later.
    each(selector, fn) {
      const done = new WeakSet();
      const run = (within) => {
        const found = [...within.querySelectorAll(selector)];
        if (within.matches && within.matches(selector)) found.unshift(within);
        for (const el of found) if (!done.has(el)) { done.add(el); fn(el); }
      };
      const begin = () => {
        run(document);
        document.body.addEventListener("htmx:afterSettle", (e) => run(e.detail.elt && e.detail.elt.isConnected ? e.detail.elt : document));
      };
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
    },
  };

  // Keys. Rows that can be walked stand in a table with data-rows; a row's first
  // link is what Enter opens, its checkbox what x chooses.
  function rows() { return [...document.querySelectorAll("table[data-rows] tbody tr")]; }
  function walk(by) {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((tr) => tr.classList.contains("at"));
    const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? 0 : now + by))];
    if (now >= 0) all[now].classList.remove("at");
    next.classList.add("at");
    const link = next.querySelector("a");
    if (link) link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  let pending = 0;
  function onKey(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
    const typing = e.target.closest && e.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (typing) {
      if (e.key === "Escape") e.target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    if (pending && Date.now() - pending < 1200) {
      pending = 0;
      const to = document.querySelector('nav [data-go="' + CSS.escape(e.key) + '"]');
      if (to) { e.preventDefault(); location.href = to.href; }
      return;
    }
    const at = document.querySelector("table[data-rows] tr.at");
    switch (e.key) {
      case "g": pending = Date.now(); return;
      case "j": walk(1); break;
      case "k": walk(-1); break;
      case "x": {
        const box = at && at.querySelector("input[type=checkbox]");
        if (!box) return;
        box.click();
        break;
      }
      case "Enter": {
        if (e.target !== document.body || !at) return;
        const link = at.querySelector("a");
        if (link) link.click();
        break;
      }
      case "/": {
        const search = document.querySelector("[data-search]");
        if (!search) return;
        search.focus();
        search.select();
        break;
      }
      case "t": toggleTheme(); break;
      case "?": document.getElementById("keys").showModal(); break;
      default: return;
    }
    e.preventDefault();
  }

  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (e) => {
    const el = e.target.closest && e.target.closest("[data-theme-toggle], [data-help], [data-copy]");
    if (!el) return;
    if (el.hasAttribute("data-theme-toggle")) toggleTheme();
    else if (el.hasAttribute("data-help")) document.getElementById("keys").showModal();
    else if (navigator.clipboard) {
      navigator.clipboard.writeText(el.dataset.copy).then(() => {
        const was = el.textContent;
        el.textContent = "Copied";
        quant.say("Copied");
        setTimeout(() => { el.textContent = was; }, 1500);
      });
    }
  });
  // A form that asks before it is sent says what in data-confirm.
  document.addEventListener("submit", (e) => {
    const text = e.target.dataset && e.target.dataset.confirm;
    if (text && !confirm(text)) e.preventDefault();
    // What is empty says nothing in an address.
    if (e.target.method === "get") {
      const empty = [...e.target.elements].filter((el) => el.name && !el.value && !el.disabled);
      for (const el of empty) el.disabled = true;
      setTimeout(() => { for (const el of empty) el.disabled = false; });
    }
  });

  // data-live: what is asked for again every few seconds while the page is looked
  // at. The server answers 304 where nothing changed. Elements with data-key that
  // stay as they are keep their place, focus and what is chosen in them.
  const every = 3000;
  function settle(now, next) {
    const kept = new Map();
    for (const el of now.querySelectorAll("[data-key]")) kept.set(el.dataset.key, el);
    for (const el of next.querySelectorAll("[data-key]")) {
      const old = kept.get(el.dataset.key);
      if (!old) continue;
      const box = old.querySelector("input[type=checkbox]"), fresh = el.querySelector("input[type=checkbox]");
      if (box && fresh) fresh.checked = box.checked;
      if (old.classList.contains("at")) el.classList.add("at");
    }
    const focused = now.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
    const link = focused && document.activeElement.tagName;
    const scrolls = [...now.querySelectorAll(".scroll")].map((el) => el.scrollLeft);
    now.replaceChildren(...next.childNodes);
    [...now.querySelectorAll(".scroll")].forEach((el, i) => { el.scrollLeft = scrolls[i] || 0; });
    if (focused) {
      const again = now.querySelector('[data-key="' + CSS.escape(focused.dataset.key) + '"] ' + (link === "INPUT" ? "input" : "a"));
      if (again) again.focus({ preventScroll: true });
    }
    if (window.htmx) htmx.process(now);
    now.dispatchEvent(new Event("quant:renewed", { bubbles: true }));
  }
  quant.each("[data-live]", (el) => {
    let tag = "", wait = every, busy = false;
    const ask = async () => {
      if (!el.isConnected) return;
      if (document.visibilityState === "visible" && !busy) {
        busy = true;
        const begun = performance.now();
        try {
          const answer = await fetch(el.dataset.live, { cache: "no-store", headers: tag ? { "If-None-Match": tag, "HX-Request": "true" } : { "HX-Request": "true" } });
          if (answer.status === 200) {
            const text = await answer.text();
            const first = !tag;
            tag = answer.headers.get("ETag") || "";
            const next = document.createElement("template");
            next.innerHTML = text;
            if (!first || el.innerHTML.trim() !== next.innerHTML.trim()) settle(el, next.content);
          } else if (answer.status === 286) { // there is nothing more to come
            settle(el, Object.assign(document.createElement("template"), { innerHTML: await answer.text() }).content);
            return;
          }
          // A lab that answers slowly is asked less often.
          wait = Math.max(every, 20 * (performance.now() - begun));
        } catch (e) { wait = Math.min(60000, wait * 2); }
        busy = false;
      }
      setTimeout(ask, wait);
    };
    setTimeout(ask, every);
    document.addEventListener("visibilitychange", () => { wait = every; });
  });

  // data-complete: the last word before the cursor is completed by the server.
  quant.each("input[data-complete]", (input) => {
    const list = document.createElement("ul");
    list.className = "offers";
    list.id = "offers-" + input.name;
    list.setAttribute("role", "listbox");
    list.hidden = true;
    const holder = document.createElement("span");
    holder.className = "completed" + (input.classList.contains("query") || input.classList.contains("grow") ? " grow" : "");
    input.replaceWith(holder);
    holder.append(input, list);
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id })) input.setAttribute(name, value);
    let at = -1, asked = 0, timer = 0;
    const close = () => { list.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
    const take = (text) => {
      const rest = input.value.slice(input.selectionStart);
      input.value = text + rest;
      input.setSelectionRange(text.length, text.length);
      close();
      if (text.endsWith(".")) ask();
    };
    const mark = (to) => {
      const all = [...list.children];
      if (at >= 0) all[at].setAttribute("aria-selected", "false");
      at = (to + all.length) % all.length;
      all[at].setAttribute("aria-selected", "true");
      all[at].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", all[at].id);
    };
    const ask = async () => {
      const text = input.value.slice(0, input.selectionStart), mine = ++asked;
      try {
        const answer = await fetch(input.dataset.complete + "?text=" + encodeURIComponent(text));
        if (!answer.ok || mine !== asked) return;
        const found = (await answer.json()).filter((f) => f !== text);
        if (mine !== asked || document.activeElement !== input) return;
        let common = text.length;
        for (const f of found) while (common > 0 && f.slice(0, common) !== text.slice(0, common)) common--;
        while (common > 0 && !/[\s,(]/.test(text[common - 1])) common--;
        list.replaceChildren(...found.map((f, i) => {
          const li = document.createElement("li");
          li.id = list.id + "-" + i;
          li.setAttribute("role", "option");
          li.setAttribute("aria-selected", "false");
          li.textContent = f.slice(common);
          li.addEventListener("mousedown", (e) => { e.preventDefault(); take(f); });
          li.quantText = f;
          return li;
        }));
        list.hidden = !found.length;
        at = -1;
        input.setAttribute("aria-expanded", String(!list.hidden));
      } catch (e) { close(); }
    };
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 80); });
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (e) => {
      if (e.key === " " && e.ctrlKey) { e.preventDefault(); ask(); return; }
      if (list.hidden) { if (e.key === "ArrowDown") { e.preventDefault(); ask(); } return; }
      if (e.key === "ArrowDown") mark(at + 1);
      else if (e.key === "ArrowUp") mark(at < 0 ? -1 : at - 1);
      else if (e.key === "Escape") { e.stopPropagation(); close(); }
      else if (e.key === "Tab" && !e.shiftKey) take(list.children[Math.max(at, 0)].quantText);
      else if (e.key === "Enter" && at >= 0) take(list.children[at].quantText);
      else return;
      e.preventDefault();
    });
  });

  // data-suggest: buttons that add their value to the field of that name.
  quant.each("[data-suggest]", (el) => {
    el.addEventListener("click", (e) => {
      const button = e.target.closest("[data-value]");
      if (!button) return;
      const input = el.closest("form").elements[el.dataset.suggest];
      const has = input.value.split(",").map((s) => s.trim()).filter(Boolean);
      if (!has.length) has.push(...(el.dataset.shown || "status,kind,started,duration").split(","));
      if (!has.includes(button.dataset.value)) has.push(button.dataset.value);
      input.value = has.join(", ");
      el.closest("form").requestSubmit();
    });
  });

  // data-views: addresses that this browser keeps by name.
  quant.each("[data-views]", (el) => {
    const key = "quant.views";
    let views = [];
    try { views = JSON.parse(store(key) || "[]"); } catch (e) { /* not ours */ }
    if (!Array.isArray(views)) views = [];
    const button = (text, label, fn) => {
      const b = document.createElement("button");
      b.type = "button";
      b.className = "quiet";
      b.textContent = text;
      if (label) b.setAttribute("aria-label", label);
      b.addEventListener("click", fn);
      return b;
    };
    const draw = () => {
      while (el.children.length > 1) el.lastChild.remove();
      for (const v of views) {
        const span = document.createElement("span"), a = document.createElement("a");
        span.className = "chip";
        a.href = "/runs" + v.search;
        a.textContent = v.name;
        span.append(a, button("×", "Forget " + v.name, () => { views = views.filter((o) => o !== v); store(key, JSON.stringify(views)); draw(); }));
        el.append(" ", span);
      }
      el.append(" ", button("Keep this view…", "", () => {
        const name = prompt("A name for this view");
        if (!name) return;
        views = views.filter((o) => o.name !== name).concat({ name, search: location.search });
        store(key, JSON.stringify(views));
        draw();
      }));
    };
    el.hidden = false;
    draw();
  });

  // data-choose: how many rows are chosen stands on the button with data-chosen.
  quant.each("[data-choose]", (form) => {
    const count = () => {
      const n = form.querySelectorAll('input[name="' + form.dataset.choose + '"]:checked').length;
      for (const button of form.querySelectorAll("[data-chosen]")) {
        button.textContent = n ? "Compare " + n : "Compare";
        button.disabled = n < 2;
      }
    };
    form.addEventListener("change", count);
    form.addEventListener("quant:renewed", count);
    let last = null;
    form.addEventListener("click", (e) => { // with Shift: all between
      const box = e.target.closest("input[type=checkbox]");
      if (!box) return;
      const all = [...form.querySelectorAll("input[type=checkbox]")];
      if (e.shiftKey && last && last.isConnected) {
        const [a, b] = [all.indexOf(last), all.indexOf(box)].sort((x, y) => x - y);
        all.slice(a, b + 1).forEach((one) => { one.checked = box.checked; });
        count();
      }
      last = box;
    });
    count();
  });

  // data-follow: a log that the server sends as it grows.
  quant.each("[data-follow]", (el) => {
    const source = new EventSource(el.dataset.follow), said = document.querySelector("[data-following]");
    const most = 500000;
    const tell = (text) => { if (said) said.textContent = text; };
    source.addEventListener("begin", () => { el.textContent = ""; tell("following"); });
    source.addEventListener("message", (e) => {
      const atEnd = el.scrollHeight - el.scrollTop - el.clientHeight < 40;
      el.append(e.data);
      if (el.textContent.length > most) {
        const kept = el.textContent.slice(-most / 2);
        el.textContent = kept.slice(kept.indexOf("\n") + 1);
      }
      if (atEnd) el.scrollTop = el.scrollHeight;
    });
    source.addEventListener("gone", (e) => { source.close(); tell(e.data); });
    source.addEventListener("end", () => { source.close(); tell("the run has ended"); });
    source.addEventListener("error", () => tell(source.readyState === EventSource.CLOSED ? "the log cannot be followed" : "the connection is lost, and tried again"));
  });
  // What scrolls and has nothing in it to go to is reached by Tab itself.
  quant.each(".scroll, pre, .parallel", (el) => {
    if (el.hasAttribute("tabindex")) return;
    const seen = new ResizeObserver(() => {
      if (el.scrollWidth > el.clientWidth || el.scrollHeight > el.clientHeight) el.tabIndex = 0;
      else el.removeAttribute("tabindex");
    });
    // What is in it may grow while its own size stays: a font comes late, a time gets longer.
    for (const one of [el, ...el.children]) seen.observe(one);
  });
  // A graph that is wider than the window begins where the run stands.
  quant.each(".graph", (el) => {
    const at = el.querySelector(".node.at");
    if (at) el.scrollLeft += at.getBoundingClientRect().left - el.getBoundingClientRect().left - el.clientWidth / 2 + 88;
  });
  quant.each("pre.log", (el) => { el.scrollTop = el.scrollHeight; });
  quant.each("[data-wrap]", (box) => {
    box.addEventListener("change", () => { for (const el of document.querySelectorAll("pre.log")) el.classList.toggle("nowrap", !box.checked); });
  });

  // data-since: how long ago a time is, by the second.
  function sinceText(from) {
    const s = Math.max(0, Math.floor((Date.now() - Date.parse(from)) / 1000));
    if (s < 120) return s + "s";
    if (s < 7200) return Math.floor(s / 60) + "m " + (s % 60) + "s";
    if (s < 172800) return Math.floor(s / 3600) + "h " + Math.floor(s % 3600 / 60) + "m";
    return Math.floor(s / 86400) + "d " + Math.floor(s % 86400 / 3600) + "h";
  }
  setInterval(() => {
    for (const el of document.querySelectorAll("[data-since]")) el.textContent = (el.dataset.before || "running for ") + sinceText(el.dataset.since);
  }, 1000);
})();
