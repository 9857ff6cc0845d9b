// What the page gains with script: it renews itself when something changes, ages grow, and the filter answers while one types.
// Without script everything works by reloading. Nothing is ever built out of text here: parts of the same page are put in.
"use strict";
(() => {
  const RENEW_MS = 10000;
  const words = (s) => {
    const two = (large, word, small, smallWord) => large + " " + word + (small ? " " + small + " " + smallWord : "");
    if (s >= 86400) return two(Math.floor(s / 86400), s < 172800 ? "day" : "days", Math.floor((s % 86400) / 3600), "h");
    if (s >= 3600) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
    return s >= 60 ? two(Math.floor(s / 60), "min", s % 60, "s") : s + " s";
  };
  let skew = 0; // our clock minus the director's, in milliseconds
  const age = () => {
    for (const time of document.querySelectorAll("time[data-age]")) {
      time.textContent = words(Math.max(0, Math.floor((Date.now() - skew - Date.parse(time.dateTime)) / 1000)));
    }
  };
  const learnSkew = () => {
    const taken = document.querySelector("#foot time");
    if (taken) skew = Date.now() - Date.parse(taken.dateTime);
  };

  const replace = (fresh) => {
    const open = new Map([...document.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
    const href = document.activeElement && document.activeElement.getAttribute("href");
    const within = document.activeElement && document.activeElement.closest("[data-live]");
    const focused = document.activeElement && document.activeElement.closest("details[id]");
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old) old.replaceWith(document.adoptNode(part));
    }
    for (const [id, was] of open) {
      const details = document.getElementById(id);
      if (details) details.open = was;
    }
    if (within) { // what was focused was replaced by its equal
      const again = focused ? document.getElementById(focused.id)?.querySelector("summary")
        : [...document.getElementById(within.id)?.querySelectorAll("a") ?? []].find((a) => a.getAttribute("href") === href);
      if (again) again.focus({ preventScroll: true });
    }
    const summary = document.getElementById("summary"), said = fresh.getElementById("summary");
    if (summary && said && summary.textContent !== said.textContent) summary.textContent = said.textContent; // read out
    document.title = fresh.title;
    learnSkew();
    show();
  };

  let fetching = false, again = false, renewed = Date.now();
  const renew = async () => {
    if (document.hidden) { again = true; return; }
    if (fetching) { again = true; return; }
    fetching = true;
    again = false;
    try {
      const asked = location.href;
      const answer = await fetch(asked, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok && asked === location.href) {
        replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
        renewed = Date.now();
      }
    } catch { /* the exporter is away: the stream says so */ }
    fetching = false;
    if (again && !document.hidden) renew();
  };

  let state = "";
  const show = () => {
    const live = document.getElementById("live");
    if (!live) return;
    live.hidden = !state;
    live.classList.toggle("lost", state === "lost");
    live.textContent = state === "lost" ? "not live: trying again" : "live";
  };

  let revision = "";
  const listen = () => {
    const source = new EventSource("/events/stream");
    source.addEventListener("state", (event) => {
      const news = JSON.parse(event.data);
      state = "live";
      show();
      if (news.revision !== revision || Date.now() - renewed > RENEW_MS) renew();
      revision = news.revision;
    });
    source.onerror = () => {
      state = "lost";
      show();
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3 * RENEW_MS); // full, or gone: look again later
    };
  };

  const form = document.querySelector("form[data-filter]");
  if (form) {
    const field = form.elements.find;
    let waiting = 0;
    const apply = () => {
      const to = new URL(location.href);
      to.searchParams.delete("page");
      if (field.value) to.searchParams.set("find", field.value); else to.searchParams.delete("find");
      history.replaceState(null, "", to);
      renew();
    };
    field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 200); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(waiting); apply(); });
    document.addEventListener("keydown", (event) => {
      const typing = event.target instanceof HTMLInputElement;
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); field.focus(); field.select(); }
      if (event.key === "Escape" && event.target === field && field.value) { field.value = ""; apply(); }
    });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) renew(); });
  learnSkew();
  setInterval(age, 1000);
  if (document.querySelector("[data-live]")) listen();
})();
