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
  });
})();
