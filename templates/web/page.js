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

  function showPart(id, html) {
    const part = document.getElementById(id);
    if (!part || part.dataset.html === html) return;
    if (id === "requests" && inUse(part) && offers(html) === offers(part.innerHTML)) return;
    const open = Array.from(part.querySelectorAll("details")).map((details) => details.open);
    part.dataset.html = html;
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((details, number) => {
      if (open[number] !== undefined) details.open = open[number];
    });
  }

  function showLog(data) {
    if (!log) return;
    document.getElementById("logs").hidden = false;
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
    let lines = ((data.replace ? "" : log.textContent) + data.text).split("\n");
    if (lines.length > LINES_MAX) lines = lines.slice(lines.length - LINES_MAX);
    log.textContent = lines.join("\n");
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  async function showList() {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("list");
    const list = document.getElementById("list");
    if (fresh && list && !list.contains(document.activeElement)) list.replaceChildren(...fresh.childNodes);
  }

  function start() {
    if (source) return;
    source = new EventSource(live.dataset.live);
    source.addEventListener("open", () => { if (lost) lost.hidden = true; });
    source.addEventListener("error", () => {
      if (lost) lost.hidden = false;
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
      for (const [id, html] of data.parts) showPart(id, html);
    });
    source.addEventListener("log", (event) => showLog(JSON.parse(event.data)));
    source.addEventListener("tasks", () => { showList(); });
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
      if (document.getElementById("list")) showList();
    }
  });
  // What was put off while a form was in use is shown when it is left.
  document.addEventListener("focusout", () => {
    window.setTimeout(() => {
      if (!last) return;
      for (const [id, html] of JSON.parse(last).parts) showPart(id, html);
    }, 0);
  });
  if (log) log.scrollTop = log.scrollHeight;
  if (!document.hidden) start();
})();
