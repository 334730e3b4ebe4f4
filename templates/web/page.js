// What changes is shown without loading the page again. Everything else works without this file.
"use strict";

(function () {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const LINES_MAX = 2000;
  const log = document.getElementById("log");
  const lost = document.getElementById("lost");
  let source = null;
  let last = null;

  // A part that the user is filling in stays, as long as what it offers is the same.
  function inUse(part) {
    if (part.contains(document.activeElement) && document.activeElement !== document.body) return true;
    return Array.from(part.querySelectorAll("input:not([type=hidden]), select")).some(
      (field) => field.value !== "" && field.value !== field.defaultValue);
  }

  function offers(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return Array.from(holder.content.querySelectorAll("form, a")).map(
      (form) => (form.getAttribute("action") || form.getAttribute("href")) +
        ((form.elements && form.elements.plan && form.elements.plan.value) || "")).join(" ");
  }

  // What names an element in the old and in the new text of a part.
  function nameOf(element) {
    const keyed = element.closest("[data-key]");
    const own = element.id || element.getAttribute("name") || element.getAttribute("href") || element.tagName;
    return (keyed ? keyed.dataset.key : "") + " " + own;
  }

  function byName(part, selector, name) {
    return Array.from(part.querySelectorAll(selector)).find((element) => nameOf(element) === name);
  }

  // Replaces a part; focus, open details and what was scrolled to stay.
  function showPart(id, html) {
    const part = document.getElementById(id);
    if (!part || part.dataset.html === html) return;
    if (id === "requests" && inUse(part) && offers(html) === offers(part.innerHTML)) return;
    const focused = part.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    const key = (details, number) => details.dataset.key || number;
    const open = new Map(Array.from(part.querySelectorAll("details")).map(
      (details, number) => [key(details, number), details.open]));
    const scrolled = Array.from(part.querySelectorAll(".scroll")).map(
      (inner) => [nameOf(inner) + inner.getAttribute("aria-label"), inner.scrollLeft, inner.scrollTop]);
    part.dataset.html = html;
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((details, number) => {
      const was = open.get(key(details, number));
      if (was !== undefined) details.open = was;
    });
    part.querySelectorAll(".scroll").forEach((inner) => {
      const before = scrolled.find(([name]) => name === nameOf(inner) + inner.getAttribute("aria-label"));
      if (before) [, inner.scrollLeft, inner.scrollTop] = before;
    });
    const again = focused && byName(part, "a, button, input, select, summary, [tabindex]", focused);
    if (again) again.focus({ preventScroll: true });
  }

  // The first keyed element in view, and where it is: the page is scrolled so that it stays there.
  function inView() {
    const seen = Array.from(live.querySelectorAll("[data-key]")).find(
      (element) => element.getBoundingClientRect().bottom > 0);
    return seen && window.scrollY > 0
      ? { key: seen.dataset.key, top: seen.getBoundingClientRect().top } : null;
  }

  function showParts(parts) {
    const before = inView();
    for (const [id, html] of parts) showPart(id, html);
    if (!before) return;
    const now = Array.from(live.querySelectorAll("[data-key]")).find(
      (element) => element.dataset.key === before.key);
    if (now) window.scrollBy(0, now.getBoundingClientRect().top - before.top);
  }

  // Says that the page may be out of date, and whether the agent answers at all.
  async function showLost() {
    if (!lost) return;
    lost.hidden = false;
    const causes = lost.querySelectorAll("[data-lost]");
    if (causes.length === 0) return;
    const answer = await fetch("/healthz", { cache: "no-store" }).catch(() => null);
    const cause = answer && answer.ok || !navigator.onLine ? "connection" : "agent";
    causes.forEach((text) => { text.hidden = text.dataset.lost !== cause; });
  }

  // Counts the running time on, from what the page said when it came.
  function tick() {
    const now = performance.now();
    document.querySelectorAll("[data-elapsed]").forEach((shown) => {
      if (shown.since === undefined) shown.since = now - shown.dataset.elapsed * 1000;
      const seconds = Math.floor((now - shown.since) / 1000);
      const two = (number) => String(number).padStart(2, "0");
      const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
      if (shown.tagName === "PROGRESS") shown.value = seconds;
      else shown.textContent = h > 0 ? h + ":" + two(m) + ":" + two(s) : m + ":" + two(s);
    });
  }

  // What landing printed is shown only if it matters.
  function revealLog() {
    if (log && log.textContent && document.querySelector("[data-logs]")) document.getElementById("logs").hidden = false;
  }

  function showLog(data) {
    if (!log) return;
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
    let lines = ((data.replace ? "" : log.textContent) + data.text).split("\n");
    if (lines.length > LINES_MAX) lines = lines.slice(lines.length - LINES_MAX);
    log.textContent = lines.join("\n");
    revealLog();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  function start() {
    if (source) return;
    source = new EventSource(live.dataset.live);
    source.addEventListener("open", () => { if (lost) lost.hidden = true; });
    source.addEventListener("error", () => {
      showLost();
      // Refused for good (logged out, or the agent is full): ask again later.
      if (source && source.readyState === EventSource.CLOSED) {
        stop();
        window.setTimeout(() => { if (!document.hidden) start(); }, 10000);
      }
    });
    source.addEventListener("task", (event) => {
      last = event.data;
      const data = JSON.parse(event.data);
      document.title = data.title;
      showParts(data.parts);
      revealLog();
    });
    source.addEventListener("parts", (event) => {
      const data = JSON.parse(event.data);
      if (data.title) document.title = data.title + " – tagship";
      showParts(data.parts);
    });
    source.addEventListener("log", (event) => showLog(JSON.parse(event.data)));
  }

  function stop() {
    if (source) source.close();
    source = null;
  }

  // A hidden page needs no connection; browsers have few of them for one site.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
    } else {
      start();
    }
  });
  // What was put off while a form was in use is shown when it is left.
  document.addEventListener("focusout", () => {
    window.setTimeout(() => {
      if (!last) return;
      for (const [id, html] of JSON.parse(last).parts) showPart(id, html);
    }, 0);
  });
  // A link to a field that is folded away opens it, also where the browser does not.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    const field = link && document.getElementById(link.hash.slice(1));
    const folded = field && field.closest("details");
    if (!folded) return;
    event.preventDefault();
    folded.open = true;
    field.focus();
  });

  tick();
  window.setInterval(tick, 1000);
  if (log) log.scrollTop = log.scrollHeight;
  if (!document.hidden) start();
})();
