"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = id => document.getElementById(id);
  const key = `sweeper-human-${data.page}`;
  let state = {rater: "", ratings: {}}, at = 0, kept = true;

  const store = text => {
    try {
      if (text === undefined) return localStorage.getItem(key);
      localStorage.setItem(key, text);
    } catch { kept = false; }
    $("unkept").hidden = kept;
    return null;
  };
  const fits = read => read && typeof read.rater === "string" && read.ratings && typeof read.ratings === "object";
  const clean = read => ({rater: read.rater, ratings: Object.fromEntries(data.pairs
    .filter(pair => ["left", "right", "tie"].includes(read.ratings[pair.id])).map(pair => [pair.id, read.ratings[pair.id]]))});
  const done = () => Object.keys(state.ratings).length;
  const unrated = () => data.pairs.findIndex(pair => !state.ratings[pair.id]);

  const checksum = () => {
    const lines = [data.page, state.rater, ...Object.keys(state.ratings).sort().map(id => `${id}=${state.ratings[id]}`)];
    let value = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(lines.join("\n"))) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
    return value.toString(16).padStart(8, "0");
  };
  const download = () => {
    const all = {schema_version: 1, format: data.format, page: data.page, ...state, checksum: checksum()};
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(all, null, 1)], {type: "application/json"}));
    link.download = `ratings-${state.rater.replace(/[^\w-]+/g, "-")}-${data.page}${done() < data.pairs.length ? "-unfinished" : ""}.json`;
    link.click();
  };

  const show = () => {
    const started = state.rater !== "", over = started && at >= data.pairs.length;
    $("start").hidden = started;
    $("rate").hidden = !started || over;
    $("end").hidden = !over;
    $("bar").value = done();
    if (over) { $("download").focus(); return; }
    if (!started) return;
    const pair = data.pairs[at];
    for (const part of ["asked", "left", "right", "reference"]) { $(part).textContent = pair[part]; $(part).scrollTop = 0; }
    $("place").textContent = `Pair ${at + 1} of ${data.pairs.length}, ${done()} rated`;
    for (const button of document.querySelectorAll("[data-choice]"))
      button.setAttribute("aria-pressed", String(state.ratings[pair.id] === button.dataset.choice));
    $("back").disabled = at === 0;
  };
  const choose = choice => {
    state.ratings[data.pairs[at].id] = choice;
    store(JSON.stringify(state));
    const next = at + 1 < data.pairs.length && !state.ratings[data.pairs[at + 1].id] ? at + 1 : unrated();
    at = next < 0 ? data.pairs.length : next;
    show();
  };
  const back = () => { if (at > 0) { at -= 1; show(); } };
  const resume = read => {
    if (!fits(read)) return false;
    state = clean(read);
    at = unrated() < 0 ? data.pairs.length : unrated();
    show();
    return true;
  };

  $("start").addEventListener("submit", event => {
    event.preventDefault();
    state.rater = $("rater").value.trim().slice(0, 60);
    if (state.rater) { store(JSON.stringify(state)); show(); }
  });
  for (const button of document.querySelectorAll("[data-choice]"))
    button.addEventListener("click", () => choose(button.dataset.choice));
  $("back").addEventListener("click", back);
  $("again").addEventListener("click", back);
  $("save").addEventListener("click", download);
  $("download").addEventListener("click", download);
  $("load").addEventListener("change", async event => {
    let read = null;
    try { read = JSON.parse(await event.target.files[0].text()); } catch { /* told below */ }
    const own = read && read.page === data.page && resume(read);
    $("refused").hidden = Boolean(own);
    if (own) store(JSON.stringify(state));
  });
  document.addEventListener("keydown", event => {
    if (!$("start").hidden || event.target.id === "load" || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = {1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 3: "tie"}[event.key];
    if (event.key === "Backspace") { event.preventDefault(); back(); }
    else if (choice && !$("rate").hidden) { event.preventDefault(); choose(choice); }
  });

  $("bar").max = data.pairs.length;
  let saved = null;
  try { saved = JSON.parse(store()); } catch { /* damaged: begin anew */ }
  if (!resume(saved)) show();
  document.documentElement.dataset.ready = "";
})();
