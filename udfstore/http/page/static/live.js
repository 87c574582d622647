// Keeps a page current: follows the store's events, fetches the page again, and puts the parts in place that changed.
"use strict";

(() => {
  const AT_MOST_MS = 1000; // between two refreshes, however much happens
  const AGAIN_MS = 1000; // after a connection that ended for good
  const shown = document.getElementById("connection");
  const said = document.getElementById("said"); // read out to who does not see the page
  let events = null;
  let refreshing = null;
  let wanted = false;
  let again = null;
  const shows = new Map(); // what each part was last given, by its id
  const content = (part) => part.innerHTML.replace(/(<time[^>]*>)[^<]*/g, "$1"); // but for what tick() keeps going
  for (const part of document.querySelectorAll("[data-live][id]")) shows.set(part.id, content(part));

  // --- times, in the zone of whoever looks ---

  const two = (number) => String(number).padStart(2, "0");
  const local = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  function lasting(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [unit, word] of [[86400, "days"], [3600, "h"], [60, "min"]]) {
      if (whole >= 2 * unit) return `${Math.floor(whole / unit)} ${word}`;
    }
    return `${whole} s`;
  }

  function tick() {
    for (const time of document.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      let text = null;
      if (time.classList.contains("ago")) text = `${lasting((Date.now() - at) / 1000)} ago`;
      else if (time.classList.contains("when")) text = local(at);
      if (text !== null && time.textContent !== text) time.textContent = text;
      const title = `${local(at)} here, ${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      if (time.title !== title) time.title = title;
    }
  }

  // --- parts that change ---

  function busy(part) {
    const focus = document.activeElement;
    const selection = getSelection();
    if (!selection.isCollapsed && part.contains(selection.anchorNode)) return true;
    if (part.querySelector("dialog[open]")) return true;
    if (part.contains(focus) && focus.matches("input, textarea, select")) return true;
    return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some(
      (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
    );
  }

  function place(part, fresh) {
    const open = new Set([...part.querySelectorAll("details[id]")].filter((d) => d.open).map((d) => d.id));
    const shut = new Set([...part.querySelectorAll("details[id]")].filter((d) => !d.open).map((d) => d.id));
    const known = new Set([...part.querySelectorAll("[id]")].map((element) => element.id));
    const focus = document.activeElement;
    const held = part.contains(focus) ? [focus.id, focus.getAttribute("href")] : null;
    const next = document.importNode(fresh, true);
    let fresher = null;
    for (const details of next.querySelectorAll("details[id]")) {
      if (open.has(details.id)) details.open = true;
      if (shut.has(details.id)) details.open = false;
    }
    for (const item of next.querySelectorAll(".feed > li[id]")) {
      if (known.has(item.id)) continue;
      item.classList.add("new");
      fresher ??= item;
    }
    part.replaceChildren(...next.childNodes);
    if (fresher) said.textContent = fresher.innerText;
    if (held) {
      const [id, href] = held;
      const same = (id && document.getElementById(id)) ||
        (href && [...part.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === href));
      if (same) same.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    if (refreshing) {
      wanted = true;
      return;
    }
    wanted = false;
    refreshing = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status === 401) return ended();
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-live][id]")) {
          const found = fresh.getElementById(part.id);
          if (found && !busy(part) && shows.get(part.id) !== content(found)) {
            shows.set(part.id, content(found));
            place(part, found);
          }
        }
        document.body.dataset.revision = fresh.body.dataset.revision || document.body.dataset.revision;
        tick();
      }
    } catch (error) {
      lost();
    } finally {
      setTimeout(() => {
        refreshing = null;
        if (wanted) refresh();
      }, AT_MOST_MS);
    }
  }

  // --- the connection ---

  function say(text, isLost) {
    shown.hidden = false;
    shown.classList.toggle("lost", isLost);
    if (shown.textContent !== text) shown.textContent = text;
  }

  const lost = () => say("connection lost", true);

  function ended() {
    close();
    shown.replaceChildren(Object.assign(document.createElement("a"), { href: location.href, textContent: "log in again" }));
    shown.hidden = false;
    shown.classList.add("lost");
  }

  function close() {
    clearTimeout(again);
    if (events) events.close();
    events = null;
  }

  function follow() {
    close();
    const at = events = new EventSource(`/v1/events?since=${document.body.dataset.revision}`);
    at.onopen = () => say("live", false);
    at.onmessage = refresh;
    at.onerror = () => {
      lost();
      if (at.readyState !== EventSource.CLOSED) return; // it tries again by itself
      again = setTimeout(async () => {
        await refresh();
        if (events === at) follow();
      }, AGAIN_MS);
    };
  }

  tick();
  setInterval(tick, 1000);
  const follows = document.querySelector("main [data-live][id]") !== null; // the frame alone is not worth a connection
  const every = document.querySelector("[data-every]");
  if (every && follows) setInterval(() => document.hidden || refresh(), 1000 * Number(every.dataset.every));
  if (document.body.dataset.revision !== undefined && follows) {
    follow();
    // A hidden page holds no connection: browsers allow six to one server.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close();
      else if (!events) refresh().then(follow);
    });
    addEventListener("pagehide", close);
    addEventListener("pageshow", (event) => event.persisted && refresh().then(follow));
  }
  if (!document.querySelector("[data-zone]")) return;
  for (const field of document.querySelectorAll("input[data-zone]")) {
    field.value = String(-new Date().getTimezoneOffset());
  }
})();
