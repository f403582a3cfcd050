// The page: brings together the question, its answer, the grid and the large view. Whatever comes from elsewhere is put
// in as text.

import { Grid } from "./grid.js";
import { Large } from "./large.js";
import { picturesIn, take } from "./picture.js";
import { NOTHING, PERCENTILES, asks, filters, parse, print, request, same } from "./question.js";

/** Between a key and the question that it makes. */
const PAUSE_MS = 70;
/** Matches asked for at first, each time that they are not enough so many times more, and in all. */
const FIRST = 100;
const TIMES = 5;
const MOST = 100_000;
/** Waiting for less is not worth a sign. */
const SOON_MS = 250;
/** A screen reader hears the count when nobody types any more. */
const QUIET_MS = 700;

const part = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

let question = { ...NOTHING };
let asked = { topK: 0, turn: 0, busy: null };
let answered = null; // the question that the matches are of
let matches = [];
let after = null; // what to do once the next answer is shown
let index = null; // what the index says of itself
const given = new Map(); // pictures that the person gave, by id

const says = {
  address: (match, height) => `thumbnail?${new URLSearchParams({ path: match.path, height })}`,
  name: (match) => match.here.slice(match.here.lastIndexOf("/") + 1),
  where: (match) => folder(match.here),
  label: (match) => `${says.name(match)}, match ${match.rank}, score ${says.facts(match)}`,
  badge: (match) => (match.alike ? `+${number.format(match.alike)}` : ""),
  facts: (match) => match.score.toFixed(3) + (match.percentile ? `, beats ${percent(match.percentile)}` : ""),
  details: (match) => [
    `${match.rank} of ${number.format(matches.length)}`,
    `score ${match.score.toFixed(4)}`,
    match.percentile && `beats ${percent(match.percentile)} of the collection`,
    match.width && match.height && `${match.width} × ${match.height}`,
    match.taken_s != null ? day(match.taken_s * 1000) : match.mtime_ns && day(match.mtime_ns / 1e6),
    match.size_bytes && bytes(match.size_bytes),
    match.alike && `${number.format(match.alike)} near-duplicates not shown`,
  ].filter(Boolean).join(" · "),
};

function folder(path) {
  const whole = path.slice(0, path.lastIndexOf("/")) || "/";
  const root = index?.root;
  return root && whole.startsWith(`${root}/`) ? whole.slice(root.length + 1) : whole;
}

function percent(value) {
  return `${(Math.floor(value * 100) / 100).toString()} %`;
}

function day(ms) {
  return new Date(ms).toISOString().slice(0, 10);
}

function bytes(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

const grid = new Grid(part("grid"), says, {
  open: (i) => enlarge(i),
  chosen: () => {},
  left: () => part("words").focus(),
  near: () => more(),
  key: (event, i) => {
    const does = { m: () => like(i), c: () => copy(i), Escape: () => part("words").focus() }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  },
});

const large = new Large(part("large"), says, {
  moved: (i) => go({ ...question, at: i + 1 }, "replace"),
  closed: (i) => {
    // Unless it was closed for something else.
    if (!question.at) return;
    go({ ...question, at: 0 }, "leave");
    grid.focus(i);
  },
  like: (i) => like(i),
  copy: (i) => copy(i),
  more: () => more(),
});

// The question and the address

/** Makes this the page's question: on top of the one before ("push"), in its place, or by going back to it ("leave"). */
function go(next, how) {
  const before = question;
  question = next;
  const address = print(question) || location.pathname;
  if (how === "push" && print(before) !== print(next)) {
    history.replaceState({ ...history.state, active: grid.active }, "");
    history.pushState({ over: next.at > 0 && same(before, next) }, "", address);
  } else if (how === "leave" && history.state?.over) {
    history.back();
  } else if (how) {
    history.replaceState(history.state, "", address);
  }
  draw();
  if (!same(before, next)) ask();
}

addEventListener("popstate", () => {
  const next = parse(location.hash);
  if (print(next) === print(question)) return;
  const changed = !same(next, question);
  if (changed) {
    const active = history.state?.active ?? 0;
    after = () => (next.at ? enlarge(next.at - 1, null) : grid.focus(active));
  }
  question = next;
  forget();
  draw();
  if (large.open && !next.at) {
    large.close();
    if (!changed) grid.focus(large.index);
  }
  if (changed) ask(Math.max(FIRST, next.at + FIRST, (history.state?.active ?? 0) + FIRST));
  else if (next.at) enlarge(next.at - 1, null);
});

/** Pictures that were given before the page was loaded again are gone. */
function forget() {
  const left = question.pictures.filter((id) => given.has(id));
  if (left.length === question.pictures.length) return;
  question = { ...question, pictures: left };
  history.replaceState(history.state, "", print(question) || location.pathname);
  say("The picture that you gave is gone with the page; give it again");
}

/** Shows the question. */
function draw() {
  const words = part("words");
  if (words.value !== question.words) words.value = question.words;
  for (const id of ["under", "from", "to", "shape", "side", "best"]) {
    if (part(id).value !== String(question[id])) part(id).value = question[id];
  }
  part("all").checked = question.all;
  drawBest();
  const count = filters(question);
  part("sieves").textContent = count;
  part("sieves").hidden = !count;
  part("no-filters").disabled = !count;
  part("clear").hidden = !asks(question);
  const terms = [
    ...question.like.map((path) => ({ name: path.slice(path.lastIndexOf("/") + 1), like: path, address: says.address({ path }, 128) })),
    ...question.pictures.map((id) => ({ ...given.get(id), id })),
  ];
  part("terms").replaceChildren(...terms.map(chip));
  part("terms").hidden = !terms.length;
  words.placeholder = terms.length ? "and in words?" : "What do the pictures show?";
}

/** Says what the slider means. */
function drawBest() {
  const best = Number(part("best").value);
  const text = best ? `${Number((100 - PERCENTILES[best]).toFixed(2))} % of the collection` : "no limit";
  part("best-says").textContent = text;
  part("best").setAttribute("aria-valuetext", text);
}

/** One picture of the question, which a press takes out. */
function chip({ name, address, like, id }) {
  const image = document.createElement("img");
  image.alt = "";
  image.onerror = () => image.remove();
  image.src = address;
  const label = document.createElement("bdi");
  label.textContent = like ? `like ${name}` : name;
  const out = document.createElement("button");
  out.type = "button";
  out.className = "chip";
  out.setAttribute("aria-label", `Take ${name} out of the question`);
  out.append(image, label, "×");
  out.addEventListener("click", () => {
    const others = (list, own) => list.filter((one) => one !== own);
    go({ ...question, like: others(question.like, like), pictures: others(question.pictures, id) }, "push");
    part("words").focus();
  });
  const item = document.createElement("li");
  item.append(out);
  return item;
}

// Asking

/** Asks the page's question. An answer that comes after the next question is dropped. */
async function ask(topK = FIRST) {
  const turn = asked.turn + 1;
  asked.busy?.abort();
  asked = { topK, turn, busy: null };
  document.body.classList.remove("busy");
  if (!asks(question)) return show([], null);
  const busy = new AbortController();
  asked.busy = busy;
  const sign = setTimeout(() => document.body.classList.add("busy"), SOON_MS);
  const of = question;
  try {
    const body = request(of, topK, (id) => given.get(id).base64);
    const headers = { "content-type": "application/json" };
    const answer = await load("search", { method: "POST", headers, body, signal: busy.signal });
    if (turn !== asked.turn) return;
    asked.busy = null;
    show(answer.matches, of, answer);
  } catch (error) {
    if (turn !== asked.turn) return;
    asked.busy = null;
    fail(error);
  } finally {
    clearTimeout(sign);
    if (turn === asked.turn) document.body.classList.remove("busy");
  }
}

/** Asks for more matches of the same question, if there may be any. */
function more() {
  if (asked.busy || !answered || matches.length < asked.topK || asked.topK >= MOST) return;
  ask(Math.min(MOST, asked.topK * TIMES));
}

/** An answer of `query`, or its reason why there is none. */
async function load(route, options) {
  let response;
  try {
    response = await fetch(route, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The program behind this page has ended. Start it again with: query --web, and open its new link.");
  }
  if (response.ok) return response.json();
  const text = await response.text();
  let reason = text;
  try {
    reason = JSON.parse(text).error ?? text;
  } catch {
    // Not every refusal is JSON.
  }
  throw new Error(reason.trim() || `There was no answer (${response.status}).`);
}

function show(found, of, answer) {
  const begin = !answered || !of || !same(answered, of);
  matches = found;
  answered = of;
  const active = begin ? 0 : grid.active;
  part("hello").hidden = Boolean(of);
  part("none").hidden = !of || found.length > 0;
  part("trouble").hidden = true;
  part("warning").hidden = !answer?.warning;
  part("warning").textContent = answer?.warning ?? "";
  part("counts").hidden = !found.length;
  if (begin) {
    scrollTo(0, 0);
    grid.forgive();
  }
  grid.show(found, active);
  if (of) count(found, answer);
  else part("counted").textContent = "";
  if (large.open) large.extend(found);
  const then = after;
  after = null;
  then?.();
}

function count(found, { num_images: all, seconds }) {
  const best = found.length >= asked.topK;
  const pictures = `${number.format(all)} ${all === 1 ? "picture" : "pictures"}`;
  const matched = found.length === 1 ? "1 match" : `${best ? "The best " : ""}${number.format(found.length)}${best ? "" : " matches"}`;
  part("counts").textContent = `${matched} of ${pictures} · ${Math.max(1, Math.round(seconds * 1000))} ms`;
  part("none-says").textContent = filters(question)
    ? `None of ${pictures} passes the filters.`
    : `None of ${pictures} fits.`;
  part("none-clear").hidden = !filters(question);
  clearTimeout(count.later);
  const heard = found.length ? `${matched} of ${pictures}` : "No picture matches";
  count.later = setTimeout(() => (part("counted").textContent = heard), QUIET_MS);
}

function fail(error) {
  matches = [];
  answered = null;
  after = null;
  large.close();
  grid.show([]);
  for (const id of ["hello", "none", "counts", "warning"]) part(id).hidden = true;
  part("trouble-says").textContent = error.message;
  part("trouble").hidden = false;
}

// What one does with a picture

function enlarge(i, how = "push") {
  if (!matches[i]) return;
  if (how) go({ ...question, at: i + 1 }, how);
  grid.reveal(i);
  large.show(matches, i);
}

function like(i) {
  const match = matches[i];
  if (!match) return;
  const { under, from, to, shape, side, best, all } = question;
  after = () => grid.focus(0);
  const next = { ...NOTHING, under, from, to, shape, side, best, all, like: [match.path] };
  if (same(next, question)) {
    after = null;
    return say("These are the pictures like it");
  }
  go(next, "push");
  large.close();
  say(`More like ${says.name(match)}`);
}

async function copy(i) {
  const path = matches[i]?.here;
  if (!path) return;
  try {
    await navigator.clipboard.writeText(path);
    say(`Copied ${path}`);
  } catch {
    say(`The browser does not let this page copy. The path is ${path}`);
  }
}

/** A word to the person, where they look and listen. */
function say(text) {
  const said = part(large.open ? "large-said" : "said");
  said.textContent = text;
  said.classList.add("fresh");
  clearTimeout(say.later);
  say.later = setTimeout(() => {
    for (const id of ["said", "large-said"]) {
      part(id).classList.remove("fresh");
      part(id).textContent = "";
    }
  }, 4000);
}

/** Takes pictures into the question, in the place of those that are there. */
async function give(files) {
  if (!files.length) return;
  try {
    const ids = [];
    for (const file of files.slice(0, 4)) {
      const id = String(given.size + 1);
      given.set(id, await take(file));
      ids.push(id);
    }
    large.close();
    go({ ...question, like: [], pictures: ids }, "push");
  } catch (error) {
    say(`This picture cannot be read: ${error.message}`);
  }
}

// The person's hands

let typing = false; // is one step back, not one for each letter
let pause = 0;

part("words").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(type, PAUSE_MS);
});
part("words").addEventListener("blur", () => typed());
part("words").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  toGrid();
});
part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  toGrid();
});

/** The question as the page's fields have it now. */
function entered() {
  const texts = ["words", "under", "from", "to", "shape", "side"].map((id) => [id, part(id).value]);
  return { ...question, ...Object.fromEntries(texts), best: Number(part("best").value), all: part("all").checked, at: 0 };
}

function type() {
  const next = entered();
  if (same(next, question)) return;
  const words = next.words !== question.words;
  go(next, words && !typing ? "push" : "replace");
  typing ||= words;
}

/** What was typed counts now. */
function typed() {
  clearTimeout(pause);
  type();
  typing = false;
}

/** To the pictures, once they are there. */
function toGrid() {
  typed();
  if (asked.busy) after = () => grid.focus(grid.active);
  else grid.focus(grid.active);
}

part("clear").addEventListener("click", () => {
  go({ ...question, words: "", like: [], pictures: [] }, "push");
  part("words").focus();
});
part("again").addEventListener("click", () => ask());

part("sieve").addEventListener("click", () => {
  const hidden = !part("filters").hidden;
  part("filters").hidden = hidden;
  part("sieve").setAttribute("aria-expanded", !hidden);
});
part("filters").addEventListener("submit", (event) => event.preventDefault());
part("filters").addEventListener("input", () => {
  drawBest();
  clearTimeout(pause);
  pause = setTimeout(type, PAUSE_MS);
});

function unfilter() {
  const { words, like, pictures } = question;
  go({ ...NOTHING, words, like, pictures }, "push");
  part("words").focus();
}
part("no-filters").addEventListener("click", unfilter);
part("none-clear").addEventListener("click", unfilter);

part("choose").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", () => {
  give([...part("file").files]);
  part("file").value = "";
});
addEventListener("paste", (event) => {
  const files = picturesIn(event.clipboardData);
  if (!files.length) return;
  event.preventDefault();
  give(files);
});
const carries = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  part("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) part("drop").hidden = true;
});
addEventListener("drop", (event) => {
  part("drop").hidden = true;
  if (!carries(event)) return;
  event.preventDefault();
  const files = picturesIn(event.dataTransfer);
  if (files.length) give(files);
  else say("This is no picture");
});

part("help-open").addEventListener("click", () => part("help").showModal());
addEventListener("keydown", (event) => {
  const writes = event.target.closest("input:not([type=range], [type=checkbox]), select, textarea");
  if (writes || event.ctrlKey || event.metaKey || event.altKey || part("help").open) return;
  const does = {
    "/": () => part("words").select(),
    "?": () => part("help").showModal(),
    f: () => part("sieve").click(),
  }[event.key];
  if (!does || (large.open && event.key !== "?")) return;
  event.preventDefault();
  does();
});

// Beginning

question = parse(location.hash);
forget();
draw();
if (filters(question)) part("sieve").click();
if (asks(question)) {
  after = question.at ? () => enlarge(question.at - 1, null) : null;
  ask(question.at + FIRST);
}
load("index").then((answer) => {
  index = answer;
  part("collection").textContent = `${number.format(index.num_images)} pictures in ${index.root}`;
  document.title = `${index.root.split("/").pop() || index.root} · Imagefleet`;
  if (index.question && !location.hash && !asks(question)) go({ ...question, words: index.question }, "replace");
}, (error) => asks(question) || fail(error));
