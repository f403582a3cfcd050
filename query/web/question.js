// What is asked: as the page has it, as the address keeps it, and as the server takes it.

/** The shares of the collection that a match may have to beat, in percent. */
export const PERCENTILES = [0, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99];

/** A question that asks nothing. `at` is the rank of the picture that is shown large. */
export const NOTHING = Object.freeze({
  words: "", like: [], pictures: [],
  under: "", from: "", to: "", shape: "", side: "", best: 0, all: false,
  at: 0,
});

const TEXTS = { words: "q", under: "under", from: "from", to: "to", shape: "shape", side: "side" };
const DAY = /^\d{4}-\d\d-\d\d$/;

/** Reads the part of an address behind `#`. What it does not know it leaves out. */
export function parse(hash) {
  const has = new URLSearchParams(hash.replace(/^#/, ""));
  const question = { ...NOTHING, like: has.getAll("like"), pictures: has.getAll("picture") };
  for (const [name, key] of Object.entries(TEXTS)) question[name] = has.get(key) ?? "";
  for (const day of ["from", "to"]) if (!DAY.test(question[day])) question[day] = "";
  if (!["landscape", "portrait", "square"].includes(question.shape)) question.shape = "";
  if (!/^\d{1,6}$/.test(question.side)) question.side = "";
  question.best = Math.max(0, PERCENTILES.indexOf(Number(has.get("best"))));
  question.all = has.has("all");
  question.at = Math.max(0, Number.parseInt(has.get("at"), 10) || 0);
  return question;
}

/** Writes what `parse` reads. */
export function print(question) {
  const has = new URLSearchParams();
  for (const [name, key] of Object.entries(TEXTS)) if (question[name]) has.set(key, question[name]);
  for (const path of question.like) has.append("like", path);
  for (const id of question.pictures) has.append("picture", id);
  if (question.best) has.set("best", PERCENTILES[question.best]);
  if (question.all) has.set("all", "1");
  if (question.at) has.set("at", question.at);
  return has.size ? `#${has}` : "";
}

/** Whether two questions have the same answer. */
export function same(one, other) {
  return print({ ...one, at: 0 }) === print({ ...other, at: 0 });
}

/** Whether anything is looked for. */
export function asks(question) {
  return question.words.trim() !== "" || question.like.length + question.pictures.length > 0;
}

/** How many filters are set. */
export function filters(question) {
  return ["under", "from", "to", "shape", "side", "best", "all"].filter((name) => question[name]).length;
}

/** The body of a search; `content` gives the file behind a picture's id, in base64. */
export function request(question, topK, content) {
  const terms = [
    ...(question.words.trim() ? [{ weight: 1, text: question.words }] : []),
    ...question.like.map((path) => ({ weight: 1, path })),
    ...question.pictures.map((id) => ({ weight: 1, picture: content(id) })),
  ];
  const sides = question.side ? Number(question.side) : undefined;
  const given = {
    under: question.under.trim() ? [question.under.trim()] : undefined,
    after_s: question.from ? midnight(question.from, 0) : undefined,
    before_s: question.to ? midnight(question.to, 1) : undefined,
    min_width: sides,
    min_height: sides,
    orientation: question.shape || undefined,
  };
  const min_percentile = question.best ? PERCENTILES[question.best] : undefined;
  return JSON.stringify({ terms, top_k: topK, filters: given, min_percentile, collapse: !question.all });
}

/** Seconds from 1970 to the begin of a day, or of a later one; cameras' clocks are taken for UTC. */
function midnight(day, later) {
  return Date.parse(`${day}T00:00:00Z`) / 1000 + later * 86400;
}
