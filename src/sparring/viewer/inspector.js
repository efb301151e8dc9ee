// The step inspector. One page, no framework, no network; on a server `live.js` is beside it.
//
// Contract: all text of data and models becomes text nodes, never markup; the page's policy (trusted types: none) makes the
// browser refuse anything else. What is below is, in order: elements and texts, state, judging cases at a threshold, the list,
// the case, its charts, the search tree, numbers, curves, filters, keys. The page calls `start`.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg", MATH = "http://www.w3.org/1998/Math/MathML";
const LETTERS = "ABCDEFGH", COLOURS = ["--aprm", "--rules", "--adversary", "--oracle"];
const ROW = 66, LONG_TEXT = 1500, MOST_STEPS = 400;

// --- elements and texts ----------------------------------------------------------------------------------------------

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : visible(String(child)));
  }
  return element;
}
const el = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

// Characters that cannot be seen, or that turn the direction of a text, are written out; as in reports (formulas.py).
const INVISIBLE = new RegExp(
  "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff" +
  "\\ufff0-\\ufffb\\ufffe\\uffff\\u{d800}-\\u{dfff}\\u{e0000}-\\u{e007f}]", "gu");
function visible(text) {
  return text.replace(INVISIBLE, (mark) => `⟨U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

const FORMULA = new RegExp(
  "\\$\\$([^$]{1,400}?)\\$\\$|\\\\\\[([\\s\\S]{1,400}?)\\\\\\]|\\\\\\(([\\s\\S]{1,400}?)\\\\\\)" +
  "|(?<![\\\\$])\\$(?=[^\\s$])((?:[^$\\\\\\n]|\\\\[^\\n]){1,400})(?<!\\s)\\$(?![\\d$])", "g");

// A text with its formulas set, as far as the page has them; all else stays as it is written.
function withFormulas(text) {
  const parts = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(FORMULA)) {
    const block = found[1] ?? found[2], source = block ?? found[3] ?? found[4];
    const tree = data.formulas[(block === undefined ? "i" : "b") + source];
    if (!tree || !Object.hasOwn(data.formulas, (block === undefined ? "i" : "b") + source)) continue;
    const math = document.createElementNS(MATH, "math");
    if (block !== undefined) math.setAttribute("display", "block");
    math.setAttribute("alttext", source);
    math.append(...tree.map(mathElement));
    parts.append(visible(text.slice(end, found.index)), math);
    end = found.index + found[0].length;
  }
  parts.append(visible(text.slice(end)));
  return parts;
}
function mathElement(one) {
  if (typeof one === "string") return document.createTextNode(one);
  const [tag, attributes, text, ...children] = one;
  const element = document.createElementNS(MATH, tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(text, ...children.map(mathElement));
  return element;
}

// A step or question: with the characters that a verdict rests on marked, else with formulas; long ones folded.
function words(text, span) {
  const holder = el("span", { class: "words", dir: "auto" });
  const show = (shown) => {
    if (span && span[0] < span[1] && span[1] <= shown.length)
      holder.append(visible(shown.slice(0, span[0])), el("mark", {}, shown.slice(...span)), visible(shown.slice(span[1])));
    else holder.append(withFormulas(shown));
  };
  if (text.length <= LONG_TEXT * 1.2) show(text);
  else {
    show(text.slice(0, LONG_TEXT));
    const rest = text.length - LONG_TEXT;
    holder.append(" ", el("button", { type: "button", class: "quiet", onclick: () => { holder.replaceChildren(); show(text); } },
      `… ${rest.toLocaleString("en")} more characters`));
  }
  return holder;
}

const shown3 = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const percent = (share) => (Number.isFinite(share) ? (100 * share).toFixed(1) + "\u202f%" : "–");
const prmName = (index) => (data.prms.length > 1 ? LETTERS[index] : "PRM");
const fullName = (index) => (data.prms.length > 1 ? `${LETTERS[index]}: ` : "") + data.prms[index].name;
const colourOf = (index) => `var(${COLOURS[index % COLOURS.length]})`;

// --- state -----------------------------------------------------------------------------------------------------------

const state = {
  view: null, query: "", sort: "run", outcome: "all", facets: {}, focus: 0,
  thresholds: data.prms.map((prm) => prm.threshold),
  shown: [], place: 0, solution: null, atStep: null,
};
if (data.prms.length === 0 && data.cases.length) data.prms.push({ name: "PRM", threshold: 0.5, rule: "", absent: true });
if (state.thresholds.length < data.prms.length) state.thresholds.push(0.5);
data.cases.forEach((one, index) => (one.index = index));

const solutionOf = (one, place) => one.solutions[place ?? one.chosen ?? 0] ?? one.solutions[0];
const current = () => data.cases[state.shown[state.place]];

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const thresholds = (given.get("t") || "").split(",").map(Number);
  if (given.has("t") && thresholds.length === state.thresholds.length && thresholds.every((t) => t >= 0 && t <= 1))
    state.thresholds = thresholds;
  for (const name of ["view", "query", "sort", "outcome"]) if (given.has(name)) state[name] = given.get(name);
  for (const [name, value] of given) if (name.startsWith("f.")) state.facets[name.slice(2)] = value;
  return given.get("case");
}
function usualView() {
  return data.live && !data.cases.length ? "try" : data.cases.length ? "cases" : data.curves.length ? "curves" : "numbers";
}
function writeHash() {
  const kept = new URLSearchParams();
  const one = current();
  if (one) kept.set("case", one.id);
  if (state.thresholds.some((t, p) => t !== data.prms[p].threshold)) kept.set("t", state.thresholds.join(","));
  const usual = { view: usualView(), query: "", sort: "run", outcome: "all" };
  for (const name of Object.keys(usual)) if (state[name] !== usual[name]) kept.set(name, state[name]);
  for (const [name, value] of Object.entries(state.facets)) if (value) kept.set("f." + name, value);
  try { history.replaceState(null, "", "#" + kept); } catch { /* some places do not allow it; nothing hangs on it */ }
}

// --- judging a case at a threshold -----------------------------------------------------------------------------------

// Index of the first step that scores below the threshold, −1 if none does, null without scores.
function predicted(solution, prm) {
  const row = solution.scores?.[prm];
  return row ? row.findIndex((score) => score !== null && score < state.thresholds[prm]) : null;
}

// right, miss (the first wrong step is accepted), alarm (a correct step is rejected), flagged or clean (nobody knows better).
function outcomeOf(one, prm) {
  const solution = solutionOf(one), first = solution.first, found = predicted(solution, prm);
  let result = null;
  if (found !== null && first !== undefined)
    result = found === first ? "right" : found >= 0 && (first < 0 || found < first) ? "alarm" : "miss";
  for (const variant of one.variants ?? []) {
    const score = variant.scores?.[prm];
    if (score === null || score === undefined) continue;
    const accepted = score >= state.thresholds[prm];
    if (variant.truth === "wrong" && accepted) return "miss";
    if (variant.truth === "correct" && !accepted) result = "alarm";
    else if (variant.truth) result ??= "right";
  }
  if (result === null && found !== null) return found < 0 ? "clean" : "flagged";
  return result;
}

// How far the scores of a case are from what is known: the largest difference of a score and its label.
function gapOf(one, prm) {
  const solution = solutionOf(one), row = solution.scores?.[prm];
  let gap = -1;
  (solution.labels ?? []).forEach((label, place) => {
    if (label !== null && row && row[place] !== null) gap = Math.max(gap, Math.abs(row[place] - label));
  });
  for (const variant of one.variants ?? []) {
    const score = variant.scores?.[prm];
    if (score !== null && score !== undefined && (variant.truth === "wrong" || variant.truth === "correct"))
      gap = Math.max(gap, variant.truth === "wrong" ? score : 1 - score);
  }
  return gap;
}
function apartOf(one) {
  const [a, b] = solutionOf(one).scores ?? [];
  if (!a || !b) return -1;
  return a.reduce((most, score, place) => Math.max(most, Math.abs(score - b[place])), -1);
}
function lowestOf(one) {
  const row = (solutionOf(one).scores?.[state.focus] ?? []).filter((score) => score !== null);
  return row.length ? Math.min(...row) : 2;
}

const OUTCOMES = {
  right: { mark: "✓", said: "right" },
  miss: { mark: "✗ miss", said: "misses the error" },
  alarm: { mark: "✗ alarm", said: "rejects a correct step" },
  flagged: { mark: "flags", said: "flags a step" },
  clean: { mark: "clean", said: "accepts every step" },
};
const FILTERS = {
  all: ["every case", () => true],
  wrong: ["PRM and label part", (one) => ["miss", "alarm"].includes(outcomeOf(one, state.focus))],
  miss: ["misses", (one) => outcomeOf(one, state.focus) === "miss"],
  alarm: ["false alarms", (one) => outcomeOf(one, state.focus) === "alarm"],
  right: ["PRM is right", (one) => outcomeOf(one, state.focus) === "right"],
  flagged: ["PRM flags a step", (one) => (predicted(solutionOf(one), state.focus) ?? -1) >= 0],
  apart: ["A and B part", (one) => outcomeOf(one, 0) !== outcomeOf(one, 1)],
  onlyA: ["only A is right", (one) => outcomeOf(one, 0) === "right" && outcomeOf(one, 1) !== "right"],
  onlyB: ["only B is right", (one) => outcomeOf(one, 1) === "right" && outcomeOf(one, 0) !== "right"],
};
const SORTS = {
  run: ["order of the run", null],
  gap: ["worst disagreement", (one) => -gapOf(one, state.focus)],
  apart: ["A and B furthest apart", (one) => -apartOf(one)],
  lowest: ["lowest score", lowestOf],
  longest: ["most steps", (one) => -(solutionOf(one).steps?.length ?? 0)],
};

const haystacks = [];
function haystack(one) {
  return (haystacks[one.index] ??= [
    one.id, one.question, ...one.solutions.flatMap((solution) => solution.steps ?? []),
    ...(one.variants ?? []).flatMap((variant) => [variant.text, variant.reason]),
  ].join("\n").toLowerCase());
}

function choose() {
  const wanted = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const facets = Object.entries(state.facets).filter(([, value]) => value);
  const passes = (FILTERS[state.outcome] ?? FILTERS.all)[1];
  const kept = data.cases.filter((one) =>
    facets.every(([name, value]) => (one.tags?.[name] ?? []).includes(value)) &&
    passes(one) && wanted.every((word) => haystack(one).includes(word)));
  const key = (SORTS[state.sort] ?? SORTS.run)[1];
  if (key) {
    const keys = new Map(kept.map((one) => [one, key(one)]));
    kept.sort((one, other) => keys.get(one) - keys.get(other) || one.index - other.index);
  }
  return kept.map((one) => one.index);
}

// Filter anew and keep the case that is looked at, where it is still among the others.
function refresh(keepId) {
  const before = keepId ?? current()?.id;
  state.shown = choose();
  const place = state.shown.findIndex((index) => data.cases[index].id === before);
  state.place = Math.max(0, place);
  if (place < 0) state.solution = null;
  const total = data.cases.length, count = state.shown.length;
  byId("count").textContent = total === 0 ? "" :
    count === total ? `${total.toLocaleString("en")} cases` : `${count.toLocaleString("en")} of ${total.toLocaleString("en")} cases`;
  byId("rows").style.height = `${count * ROW}px`;
  drawRows();
  reveal();
  drawDetail();
  writeHash();
}

// --- the list --------------------------------------------------------------------------------------------------------

const list = byId("list");
let drawn = false;
function drawRows() {
  drawn = false;
  const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const to = Math.min(state.shown.length, from + Math.ceil((list.clientHeight || 800) / ROW) + 10);
  const rows = [];
  for (let place = from; place < to; place++) rows.push(rowOf(data.cases[state.shown[place]], place));
  byId("rows").replaceChildren(...rows);
  list.setAttribute("aria-activedescendant", `row-${state.place}`);
  if (!state.shown.length) byId("rows").append(el("p", { class: "small" }, "No case fits these filters."));
}
list.addEventListener("scroll", () => {
  if (!drawn) { drawn = true; requestAnimationFrame(drawRows); }
});
function rowOf(one, place) {
  const solution = solutionOf(one), byAnswer = solution.right !== undefined && solution.first === undefined;
  const marks = data.prms.map((_, prm) => {
    const outcome = byAnswer ? null : outcomeOf(one, prm);
    return outcome && el("span", { class: `outcome ${outcome}`, title: `${prmName(prm)} ${OUTCOMES[outcome].said}` },
      data.prms.length > 1 ? `${LETTERS[prm]} ` : "", OUTCOMES[outcome].mark);
  });
  if (byAnswer)
    marks.push(el("span", { class: `outcome ${solution.right ? "right" : "miss"}` }, solution.right ? "right answer" : "wrong answer"));
  const row = el("div", {
    class: "row", role: "option", id: `row-${place}`, "aria-selected": String(place === state.place),
    "aria-setsize": state.shown.length, "aria-posinset": place + 1,
    onclick: () => { document.body.classList.add("reading"); go(place); },
  }, el("div", { class: "row-top" }, el("span", { class: "name" }, one.id), el("span", { class: "outcomes" }, marks)),
  el("div", { class: "excerpt", dir: "auto" }, (one.question || solution.steps?.[0] || "").slice(0, 160)), strip(solution));
  row.style.top = `${place * ROW}px`;
  return row;
}

// A solution at a glance: a mark per step, coloured by the score in focus, the first wrong step by label underlined.
function strip(solution) {
  const row = solution.scores?.[state.focus] ?? solution.labels ?? [];
  return el("div", { class: "strip", "aria-hidden": "true" }, (solution.steps ?? []).slice(0, 60).map((_, place) =>
    el("i", { class: `${band(row[place], state.thresholds[state.focus])}${solution.first === place ? " first" : ""}` })));
}

// From surely wrong to surely correct, seen from the threshold.
function band(score, threshold) {
  if (score === null || score === undefined) return "s2";
  if (score < threshold) return score < threshold / 2 ? "s0" : "s1";
  return score < (1 + threshold) / 2 ? "s3" : "s4";
}

function go(place) {
  if (!state.shown.length) return;
  state.place = Math.min(Math.max(place, 0), state.shown.length - 1);
  state.solution = state.atStep = null;
  reveal();
  drawRows();
  drawDetail();
  byId("detail").scrollTop = 0;
  writeHash();
}
function reveal() {
  const top = state.place * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
}

// --- the case --------------------------------------------------------------------------------------------------------

function drawDetail() {
  const one = current(), detail = byId("detail");
  if (!one) {
    detail.replaceChildren(data.cases.length || data.live ? "" : el("p", { class: "small" }, "This run holds no cases to look at."));
    return;
  }
  const place = state.solution ?? one.chosen ?? 0, solution = solutionOf(one, place);
  detail.replaceChildren();
  build(detail, {}, [
    el("button", { type: "button", class: "back quiet", onclick: () => document.body.classList.remove("reading") }, "← Cases"),
    el("h2", { dir: "auto" }, one.id),
    el("p", { class: "tags" },
      Object.entries(one.tags ?? {}).map(([name, values]) => el("span", { class: "tag" }, `${name}: ${values.slice(0, 3).join(", ")}`
        + (values.length > 3 ? `, and ${values.length - 3} more` : "")))),
    one.question ? el("div", { class: "question" }, words(one.question)) : "",
    (one.notes ?? []).map((note) => el("p", { class: "small" }, note)),
    data.live && one.question
      ? el("p", {}, el("button", { type: "button", onclick: () => fillForm(one, solution) }, "Try this problem")) : "",
    one.tree ? drawTree(one.tree) : "",
    one.solutions.length > 1 ? solutionTable(one, place) : "",
    firstErrors(solution),
    chart(solution),
    steps(one, solution, place === (one.chosen ?? 0)),
  ]);
}

function solutionTable(one, place) {
  const order = one.solutions.map((_, index) => index)
    .sort((a, b) => (one.solutions[b].total ?? -1) - (one.solutions[a].total ?? -1)).slice(0, 200);
  return el("details", { open: true },
    el("summary", {}, `${one.solutions.length} solutions, highest total first`),
    el("div", { class: "scroll solutions" }, el("table", {},
      el("thead", {}, el("tr", {}, ["", "total", "answer", "", "steps"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, order.map((index) => {
        const it = one.solutions[index];
        return el("tr", { class: index === place ? "picked" : "" },
          el("th", { scope: "row" }, el("button", {
            type: "button", class: "quiet", "aria-pressed": String(index === place),
            onclick: () => { state.solution = index; drawDetail(); },
          }, `${index === (one.chosen ?? 0) ? "chosen" : "show"} ${index + 1}`)),
          el("td", {}, shown3(it.total)), el("td", { dir: "auto" }, (it.answer ?? "–").slice(0, 80)),
          el("td", { class: it.right === undefined ? "" : it.right ? "good" : "bad" },
            it.right === undefined ? "" : it.right ? "✓ right" : "✗ wrong"),
          el("td", {}, it.steps?.length ?? 0));
      })))));
}

// Who says that which step is the first wrong one.
function firstErrors(solution) {
  const rows = [];
  const step = (place) => el("button", { type: "button", class: "quiet", onclick: () => toStep(place) }, `step ${place + 1}`);
  if (solution.first !== undefined)
    rows.push(["label", solution.first < 0 ? "none" : step(solution.first), "", ""]);
  const said = Object.entries(solution.said ?? {}).flatMap(([place, words]) => words.map((one) => ({ ...one, place: Number(place) })));
  for (const by of new Set(said.map((one) => one.by))) {
    const wrong = said.filter((one) => one.by === by && one.truth === "wrong").sort((a, b) => a.place - b.place)[0];
    if (wrong) rows.push([by, step(wrong.place), "", [wrong.reason, wrong.detail].filter(Boolean).join(": ")]);
    else if (said.some((one) => one.by === by && one.truth === "correct")) rows.push([by, "none", "", ""]);
  }
  data.prms.forEach((_, index) => {
    const found = predicted(solution, index);
    if (found === null) return;
    const score = found < 0 ? "" : `scores ${shown3(solution.scores[index][found])}`;
    const right = solution.first === undefined ? "" : found === solution.first ? "✓" : "✗";
    rows.push([fullName(index), found < 0 ? "none" : step(found), right, score]);
  });
  if (!rows.length) return "";
  return el("div", { class: "scroll" }, el("table", { class: "firsts" }, el("caption", {}, "First wrong step"),
    el("tbody", {}, rows.map(([who, ...cells]) =>
      el("tr", {}, el("th", { scope: "row" }, who), cells.map((cell) => el("td", {}, cell)))))));
}
function toFirstError() {
  if (!current()) return;
  const solution = solutionOf(current(), state.solution);
  toStep(Math.max(0, solution.first ?? predicted(solution, state.focus) ?? 0));
}
function toStep(place) {
  const found = byId(`step-${place}`);
  if (found) {
    found.scrollIntoView({ block: "center" });
    found.classList.add("flash");
    setTimeout(() => found.classList.remove("flash"), 900);
  }
}

function steps(one, solution, withVariants) {
  const holder = el("div", { class: "steps" }, el("h3", {}, "Steps"));
  const all = solution.steps ?? [];
  if (!all.length) holder.append(el("p", { class: "small" }, "The steps are not in this run."));
  const draw = (from, to) => all.slice(from, to).forEach((text, offset) =>
    holder.append(stepRow(one, solution, text, from + offset, withVariants)));
  draw(0, MOST_STEPS);
  if (all.length > MOST_STEPS)
    holder.append(el("button", { type: "button", onclick: (event) => { event.target.remove(); draw(MOST_STEPS, all.length); } },
      `${all.length - MOST_STEPS} more steps`));
  return holder;
}
function stepRow(one, solution, text, place, withVariants) {
  const label = solution.labels?.[place], said = solution.said?.[place] ?? [];
  const marks = [], below = [];
  if (label !== null && label !== undefined)
    marks.push(truthMark("label", label === 1 ? "correct" : label === 0 ? "wrong" : label.toFixed(2)));
  const value = solution.values?.[place];
  if (value) {
    const title = `${value[3]} rollouts, 95 % interval ${shown3(value[1])} to ${shown3(value[2])}`;
    marks.push(el("span", { class: "truth", title }, "value ", el("b", {}, value[0].toFixed(2))));
  }
  let judged = "plain";
  data.prms.forEach((prm, index) => {
    const score = solution.scores?.[index]?.[place];
    if (score === undefined || score === null) return;
    marks.push(scoreMark(index, score));
    const accepted = score >= state.thresholds[index];
    if (label !== null && label !== undefined && accepted !== label >= 0.5) {
      judged = "judged";
      marks.push(apartMark(index, accepted ? "accepts a wrong step" : "rejects a correct step"));
    }
  });
  for (const it of said.filter((it) => it.truth !== "undecided")) below.push(saidLine(it, text));
  const undecided = said.filter((it) => it.truth === "undecided");
  if (undecided.length)
    below.push(el("details", {},
      el("summary", { class: "small" }, `undecided: ${undecided.map((it) => it.by).join(", ")}`),
      undecided.map((it) => saidLine(it, text))));
  const first = [
    solution.first === place ? "label" : null,
    ...data.prms.map((_, index) => (predicted(solution, index) === place ? prmName(index) : null)),
  ].filter(Boolean);
  if (first.length) marks.unshift(el("span", { class: "firstmark" }, `first wrong: ${first.join(", ")}`));
  const span = said.find((it) => it.span && it.truth === "wrong")?.span;
  const found = el("div", { class: `step ${judged}${solution.first === place ? " isfirst" : ""}`, id: `step-${place}` },
    el("span", { class: "step-label" }, `step ${place + 1}`), words(text, span), el("span", { class: "marks" }, marks),
    below.length ? el("div", { class: "below" }, below) : "");
  const edge = solution.scores?.[state.focus]?.[place] ?? label;
  found.classList.add(`edge-${band(edge, state.thresholds[state.focus])}`);
  const others = withVariants ? (one.variants ?? []).filter((variant) => variant.at === place) : [];
  if (!others.length) return found;
  return el("div", {}, found, el("details", { class: "variants", open: true },
    el("summary", {}, `${others.length} variant${others.length > 1 ? "s" : ""} of step ${place + 1}`),
    others.slice(0, 100).map(variantRow),
    others.length > 100 ? el("p", { class: "small" }, `${others.length - 100} more are not shown.`) : ""));
}
function variantRow(variant) {
  const marks = [];
  if (variant.truth) marks.push(truthMark("oracle", variant.truth));
  let judged = "plain";
  data.prms.forEach((_, index) => {
    const score = variant.scores?.[index];
    if (score === undefined) return;
    marks.push(scoreMark(index, score));
    if (score === null || !["wrong", "correct"].includes(variant.truth)) return;
    if ((score >= state.thresholds[index]) === (variant.truth === "correct")) return;
    judged = "judged";
    marks.push(apartMark(index, variant.truth === "wrong" ? "is fooled" : "rejects a correct step"));
  });
  return el("div", { class: `step ${judged}` }, el("span", { class: "step-label" }, variant.by), words(variant.text),
    el("span", { class: "marks" }, marks),
    variant.reason ? el("div", { class: "below" }, el("p", { class: "small" }, variant.reason)) : "");
}
const truthMark = (who, truth) =>
  el("span", { class: `truth ${["correct", "wrong"].includes(truth) ? truth : "other"}` }, `${who} `, el("b", {}, truth));
const apartMark = (index, said) => el("span", { class: "apart" }, `✗ ${prmName(index)} ${said}`);
function scoreMark(index, score) {
  if (score === null) return el("span", { class: "score" }, `${prmName(index)} –`);
  const threshold = state.thresholds[index], title = `${data.prms[index].name}: ${score}, threshold ${threshold}`;
  return el("span", { class: `score ${band(score, threshold)}`, title },
    score < threshold ? "▼ " : "", `${prmName(index)} `, el("b", {}, score.toFixed(2)));
}
function saidLine(it, text) {
  const where = it.span && it.span[1] <= text.length ? [", at ", el("code", {}, text.slice(...it.span).slice(0, 200))] : "";
  return el("p", { class: `small said ${it.truth}` }, el("b", {}, it.by), ` ${it.truth}`,
    it.reason ? ` (${it.reason})` : "", it.detail ? `: ${it.detail}` : "", where);
}

// --- charts ----------------------------------------------------------------------------------------------------------

// Lines over steps or updates. Each line: name, colour, points of [x, y, low?, high?]; y runs from `low` to `high`.
function plot({ lines, low, high, across = [], upright = [], bars = [], label, xName, height = 170, room }) {
  const width = Math.max(240, Math.min(760, room ?? (byId("detail").clientWidth || innerWidth) - 48));
  const left = 44, bottom = 30, top = 10, right = 8;
  const xs = [...lines, { points: bars }].flatMap((line) => line.points.map((point) => point[0]));
  const half = lines.length ? 0 : 0.5; // bars are as wide as a step
  const first = Math.min(...xs) - half, last = Math.max(...xs, first + 1) + half;
  const x = (value) => left + (width - left - right) * (value - first) / (last - first);
  const y = (value) => top + (height - top - bottom) * (high - Math.min(Math.max(value, low), high)) / (high - low || 1);
  const parts = [];
  for (let tick = 0; tick <= 2; tick++) {
    const value = low + (high - low) * tick / 2;
    parts.push(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, brief(value)));
  }
  for (const value of ticks(first + half, last - half))
    parts.push(svg("text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, brief(value)));
  parts.push(svg("text", { x: width - right, y: height - 2, "text-anchor": "end" }, xName));
  const zero = y(Math.max(low, Math.min(0, high))), wide = Math.max(3, Math.min(18, (width - left - right) / (bars.length + 1) * 0.5));
  for (const [at, value] of bars)
    parts.push(svg("rect", {
      x: x(at) - wide / 2, width: wide, y: Math.min(zero, y(value)), height: Math.max(1, Math.abs(zero - y(value))),
      class: value < 0 ? "bar down" : "bar",
    }, svg("title", {}, `${brief(at)}: ${value.toFixed(3)}`)));
  for (const { value, colour } of across)
    parts.push(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "threshold", stroke: colour }));
  for (const { value, said } of upright) {
    const late = x(value) > width - 80, anchor = late ? "end" : "start";
    parts.push(svg("line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom, class: "upright" }),
      svg("text", { x: x(value) + (late ? -4 : 4), y: top + 9, class: "said", "text-anchor": anchor }, said));
  }
  for (const line of lines) {
    for (const piece of pieces(line.points))
      parts.push(svg("polyline", { points: piece.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" "),
        stroke: line.colour, class: "line" }));
    if (line.points.length > 60) continue;
    for (const [at, value, from, to] of line.points) {
      if (from !== undefined)
        parts.push(svg("line", { x1: x(at), x2: x(at), y1: y(from), y2: y(to), stroke: line.colour, class: "whisker" }));
      parts.push(svg("circle", { cx: x(at), cy: y(value), r: 3, fill: line.colour },
        svg("title", {}, `${line.name}, ${brief(at)}: ${value.toFixed(4)}`)));
    }
  }
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: "plot" }, parts);
}
// The parts of a line: where a measure was not taken for a while, nothing is drawn.
function pieces(points) {
  const steps = points.slice(1).map((point, place) => point[0] - points[place][0]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 1, found = [[]];
  points.forEach((point, place) => {
    if (place && point[0] - points[place - 1][0] > 8 * usual) found.push([]);
    found.at(-1).push(point);
  });
  return found;
}
function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3))).replace("-", "−");
}
function ticks(first, last) {
  const span = last - first, raw = span / 6, unit = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max([1, 2, 5, 10].map((one) => one * unit).find((one) => span / one <= 8) ?? unit, span <= 8 ? 1 : 0);
  const found = [];
  for (let value = Math.ceil(first / step) * step; value <= last + 1e-9; value += step) found.push(value);
  return found;
}
function legend(lines) {
  return el("p", { class: "legend" }, lines.map((line) => {
    const key = el("i", { class: "key" });
    key.style.background = line.colour;
    return el("span", {}, key, line.name);
  }));
}

// Scores and measured values over the steps, and what each step changes.
function chart(solution) {
  const lines = [];
  data.prms.forEach((_, index) => {
    const points = (solution.scores?.[index] ?? []).map((score, place) => [place + 1, score]).filter(([, score]) => score !== null);
    if (points.length > 1) lines.push({ name: fullName(index), colour: colourOf(index), points });
  });
  const across = lines.length ? data.prms.map((_, index) => ({ value: state.thresholds[index], colour: colourOf(index) })) : [];
  const values = (solution.values ?? []).map((value, place) => value && [place + 1, value[0], value[1], value[2]]).filter(Boolean);
  if (solution.root !== undefined) values.unshift([0, solution.root]);
  if (values.length > 1) lines.push({ name: "value, by rollouts", colour: "var(--oracle)", points: values });
  if (!lines.length) return "";
  const upright = solution.first >= 0 ? [{ value: solution.first + 1, said: "first wrong" }] : [];
  const of = values.length > 1 ? values : lines[Math.min(state.focus, lines.length - 1)].points;
  const changes = of.slice(1).map((point, place) => [point[0], point[1] - of[place][1]]);
  const most = Math.max(0.05, ...changes.map((change) => Math.abs(change[1])));
  const changed = values.length > 1 ? "the value" : `${prmName(state.focus)}'s score`;
  const name = `Progress: change of ${changed} by each step`;
  return el("figure", {}, legend(lines),
    plot({ lines, low: 0, high: 1, across, upright, label: "Scores over the steps", xName: "step" }),
    el("details", { open: values.length > 1 }, el("summary", {}, name),
      plot({ lines: [], bars: changes, low: -most, high: most, upright, label: name, xName: "step", height: 120 })));
}

// --- the search tree -------------------------------------------------------------------------------------------------

function drawTree(tree) {
  const nodes = [{ children: [], depth: 0 }], threshold = state.thresholds[state.focus];
  tree.nodes.forEach(([parent, text, score, value, kept, end, chosen], place) => {
    const above = nodes[parent + 1];
    nodes.push({ place, text, score, value, kept, end, chosen, children: [], above, depth: above.depth + 1 });
    above.children.push(nodes.at(-1));
  });
  let leaves = 0;
  const set = (node) => { // no recursion: a tree may be deep
    const waiting = [[node, false]];
    while (waiting.length) {
      const [it, done] = waiting.pop();
      if (!it.children.length) it.y = leaves++;
      else if (done) it.y = (it.children[0].y + it.children.at(-1).y) / 2;
      else { waiting.push([it, true]); for (const child of [...it.children].reverse()) waiting.push([child, false]); }
    }
  };
  set(nodes[0]);
  const deepest = nodes.reduce((most, node) => Math.max(most, node.depth), 1);
  const column = Math.max(46, Math.min(120, ((byId("detail").clientWidth || innerWidth) - 80) / deepest)), line = leaves > 40 ? 15 : 21;
  const x = (node) => 16 + node.depth * column, y = (node) => 14 + node.y * line;
  const told = el("div", { class: "told", "aria-live": "polite" }, el("p", { class: "small" }, "Choose a node to read its step."));
  const show = (node, circle) => {
    for (const other of circle.parentNode.querySelectorAll(".now")) other.classList.remove("now");
    circle.classList.add("now");
    const path = [];
    for (let it = node; it.depth > 0; it = it.above) path.unshift(it);
    told.replaceChildren(...path.map((it) => el("div", { class: "step plain" },
      el("span", { class: "step-label" }, `step ${it.depth}`), words(it.text),
      el("span", { class: "marks" },
        it.score === null ? "" : scoreMark(state.focus, it.score),
        it.value === null ? "" : el("span", { class: "truth" }, "value ", el("b", {}, shown3(it.value))),
        el("span", { class: `truth ${it.kept ? "" : "wrong"}` }, !it.kept ? "pruned" : it.end === "open" ? "kept" : it.end)))));
  };
  const edges = [], circles = [];
  for (const node of nodes.slice(1)) {
    const [x0, y0, x1, y1] = [x(node.above), y(node.above), x(node), y(node)];
    edges.push(svg("path", { d: `M${x0},${y0} C${x0 + column / 2},${y0} ${x1 - column / 2},${y1} ${x1},${y1}`,
      class: `edge${node.kept ? "" : " pruned"}${node.chosen ? " chosen" : ""}` }));
    const circle = svg("circle", { cx: x(node), cy: y(node), r: node.end === "finished" ? 7 : 5.5, tabindex: 0, role: "button",
      class: `node ${band(node.score, threshold)}${node.kept ? "" : " pruned"}${node.chosen ? " chosen" : ""}`,
      "aria-label": `step ${node.depth}, score ${shown3(node.score)}, ${node.kept ? "kept" : "pruned"}` },
    svg("title", {}, `${shown3(node.score)} ${node.kept ? "kept" : "pruned"}: ${node.text.slice(0, 200)}`));
    circle.addEventListener("click", () => show(node, circle));
    circle.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      show(node, circle);
    });
    circles.push(circle);
  }
  const kept = nodes.slice(1).filter((node) => node.kept).length;
  const width = 32 + deepest * column, height = 28 + Math.max(leaves - 1, 0) * line;
  return el("figure", { class: "tree" },
    el("h3", {}, "Search tree"),
    el("p", { class: "small" }, `${nodes.length - 1} steps looked at, ${kept} kept, ${nodes.length - 1 - kept} pruned`
      + (tree.left_out ? `, ${tree.left_out} more not on this page. ` : ". ")
      + (tree.cost ?? []).map(([name, value]) => `${name} ${value}`).join(", ")),
    el("p", { class: "legend" }, el("span", { class: "score s4" }, "kept"), el("span", { class: "score dashedmark" }, "pruned"),
      el("span", { class: "score chosenmark" }, "way to the answer"), el("span", {}, "large: a finished solution")),
    el("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": "Search tree" },
      svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height },
        edges, svg("circle", { cx: x(nodes[0]), cy: y(nodes[0]), r: 6, class: "node root" }), circles)), told);
}

// --- numbers ---------------------------------------------------------------------------------------------------------

function drawNumbers() {
  const parts = [];
  const labelled = data.cases.filter((one) => solutionOf(one).first !== undefined && solutionOf(one).scores?.some(Boolean));
  if (labelled.length) {
    const rows = data.prms.filter((prm) => !prm.absent).map((prm, index) => {
      const count = { right: [0, 0], miss: [0, 0], alarm: [0, 0] }, of = [0, 0];
      for (const one of labelled) {
        const wrong = solutionOf(one).first >= 0 ? 1 : 0, outcome = outcomeOf({ ...one, variants: [] }, index);
        if (!(outcome in count)) continue;
        of[wrong] += 1;
        count[outcome][wrong] += 1;
      }
      const [correct, erroneous] = [count.right[0] / of[0], count.right[1] / of[1]];
      const f1 = correct + erroneous > 0 ? 2 * correct * erroneous / (correct + erroneous) : correct + erroneous === 0 ? 0 : NaN;
      return [fullName(index), state.thresholds[index].toFixed(3), percent(f1), percent(erroneous), percent(correct),
        String(count.miss[1]), String(count.alarm[0] + count.alarm[1])];
    });
    const title = `At the thresholds as they are set now, all ${labelled.length.toLocaleString("en")} labelled cases of this page `
      + "as one set; no intervals, for a threshold that was moved by hand is chosen on these cases";
    if (rows.length) parts.push(el("p", { class: "small" }, title), table({ title: "",
      headings: ["PRM", "threshold", "F1", "accuracy, erroneous", "accuracy, correct", "misses", "false alarms"], rows }));
  }
  parts.push(...data.tables.map((one) => one.title !== "All numbers" ? table(one)
    : el("details", {}, el("summary", {}, `All numbers (${one.rows.length})`), table(one))));
  if (data.tables.length) parts.push(el("p", { class: "small" },
    "Shares are in percent; brackets hold 95 % intervals over independent cases, at the thresholds of the run; a t behind them "
    + "says Student's."));
  if (data.facts.length) parts.push(el("details", {}, el("summary", {}, `Settings and surroundings (${data.facts.length})`),
    table({ title: "", headings: ["setting", "value"], rows: data.facts, long: true })));
  byId("numbers").replaceChildren(...parts);
}
function table({ title, headings, rows, long }) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title || "Table" },
    el("table", { class: long ? "long" : "" }, title ? el("caption", {}, title) : "",
      el("thead", {}, el("tr", {}, headings.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.slice(0, 1000).map(([name, ...cells]) =>
        el("tr", {}, el("th", { scope: "row" }, name), cells.map((cell) => el("td", {}, cell)))))));
}

// --- curves ----------------------------------------------------------------------------------------------------------

function drawCurves() {
  const charts = new Map();
  for (const curve of data.curves) {
    const key = `${curve.chart}\n${curve.name}`;
    charts.set(key, [...(charts.get(key) ?? []), curve]);
  }
  const runs = [...new Set(data.curves.map((curve) => curve.run))];
  const wanted = byId("measure")?.value.toLowerCase() ?? "";
  const groups = new Map(), inside = (byId("curve-plots").clientWidth || innerWidth) - 8;
  const columns = Math.max(1, Math.floor((inside + 26) / (21 * 16 + 26))), room = (inside - 26 * (columns - 1)) / columns;
  for (const [key, curves] of charts) {
    const [chartName, name] = key.split("\n");
    if (!name.toLowerCase().includes(wanted)) continue;
    const ys = curves.flatMap((curve) => curve.y).filter((y) => y !== null);
    let low = Math.min(...ys), high = Math.max(...ys);
    if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
    if (low > 0 && low < high / 3) low = 0;
    const lines = curves.map((curve) => ({ name: curve.run, colour: colourOf(runs.indexOf(curve.run)),
      points: curve.x.map((x, place) => [x, curve.y[place]]).filter((point) => point[1] !== null) }));
    const last = lines.map((line) => line.points.at(-1)?.[1]).filter((value) => value !== undefined).map(brief).join(", ");
    groups.set(chartName, [...(groups.get(chartName) ?? []), el("figure", { class: "curve" },
      el("figcaption", {}, el("b", {}, name.replaceAll("_", " ")), ` now ${last}`),
      plot({ lines, low, high, label: name, xName: "update", height: 150, room }))]);
  }
  const plots = [...groups].map(([name, found]) => [el("h3", {}, name), el("div", { class: "grid-of-curves" }, found)]).flat();
  const holder = byId("curve-plots");
  holder.replaceChildren(runs.length > 1 ? legend(runs.map((run, index) => ({ name: run, colour: colourOf(index) }))) : "", ...plots);
}
function prepareCurves() {
  byId("curves").append(
    el("label", { class: "wide" }, "Measures ",
      el("input", { type: "search", id: "measure", placeholder: "part of a name", oninput: drawCurves })),
    el("div", { id: "curve-plots" }));
}

// --- filters, views, keys --------------------------------------------------------------------------------------------

function picker(label, id, options, value, change) {
  return el("label", {}, `${label} `, el("select", { id, onchange: (event) => { change(event.target.value); refresh(); } },
    options.map(([key, said]) => el("option", { value: key, selected: key === value }, said))));
}
function prepareFilters() {
  const some = (test) => data.cases.some(test), two = data.prms.length > 1;
  const labelled = some((one) => solutionOf(one).first !== undefined || (one.variants ?? []).some((variant) => variant.truth));
  const scored = some((one) => (solutionOf(one).scores ?? []).some(Boolean));
  const fits = {
    all: true, wrong: labelled, miss: labelled, alarm: labelled, right: labelled, flagged: scored,
    apart: two, onlyA: two && labelled, onlyB: two && labelled,
  };
  const sorts = { run: true, gap: labelled, apart: two, lowest: scored, longest: true };
  const chosen = (table, allowed) => Object.entries(table).filter(([key]) => allowed[key]).map(([key, [said]]) => [key, said]);
  if (!fits[state.outcome]) state.outcome = "all";
  if (!sorts[state.sort]) state.sort = "run";
  const parts = [
    picker("Show", "outcome", chosen(FILTERS, fits), state.outcome, (value) => (state.outcome = value)),
    picker("Sort by", "sort", chosen(SORTS, sorts), state.sort, (value) => (state.sort = value)),
  ];
  const prms = data.prms.map((_, index) => [String(index), fullName(index)]);
  if (two) parts.push(picker("Look at", "focus", prms, String(state.focus), (value) => (state.focus = Number(value))));
  const facets = new Map();
  for (const one of data.cases) for (const [name, values] of Object.entries(one.tags ?? {})) for (const value of values) {
    if (!facets.has(name)) facets.set(name, new Map());
    facets.get(name).set(value, (facets.get(name).get(value) ?? 0) + 1);
  }
  for (const [name, values] of facets) {
    if (values.size < 2) continue;
    const options = [...values].sort((one, other) => other[1] - one[1]).slice(0, 300);
    if (!values.has(state.facets[name])) delete state.facets[name];
    const shown = [["", "every"], ...options.map(([value, count]) => [value, `${value} (${count})`])];
    parts.push(picker(name[0].toUpperCase() + name.slice(1), `facet-${name.replaceAll(" ", "-")}`, shown,
      state.facets[name] ?? "", (value) => (state.facets[name] = value)));
  }
  byId("filters").replaceChildren(...parts);
}
function prepareThresholds() {
  byId("thresholds").replaceChildren(...data.prms.map((prm, index) => {
    if (prm.absent) return "";
    const said = el("output", {}, state.thresholds[index].toFixed(3));
    const slider = el("input", { type: "range", min: 0, max: 1, step: 0.001, value: state.thresholds[index], id: `threshold-${index}`,
      title: prm.rule === "unknown" ? "not known: it begins at 0.5" : `of the run: ${prm.threshold}${prm.rule ? ` (${prm.rule})` : ""}`,
      oninput: () => setThreshold(index, Number(slider.value)) });
    const back = el("button", { type: "button", class: "quiet", title: `back to ${prm.threshold}${prm.rule && prm.rule !== "unknown" ? ` (${prm.rule})` : ""}`,
      "aria-label": `threshold of ${prm.name} back to that of the run`, onclick: () => setThreshold(index, prm.threshold) }, "↺");
    return el("label", { class: "threshold" }, `${data.prms.length > 1 ? LETTERS[index] + " " : ""}threshold `, slider, said, back);
  }));
}
let pending = 0;
function setThreshold(index, value) {
  state.thresholds[index] = Math.min(1, Math.max(0, Math.round(value * 1e6) / 1e6));
  byId(`threshold-${index}`).value = state.thresholds[index];
  byId(`threshold-${index}`).nextElementSibling.textContent = state.thresholds[index].toFixed(3);
  if (!pending) pending = requestAnimationFrame(() => { pending = 0; refresh(); if (state.view === "numbers") drawNumbers(); });
}

const VIEWS = { cases: ["Cases", refresh], numbers: ["Numbers", drawNumbers], curves: ["Curves", drawCurves], try: ["Try", () => {}] };
function show(name) {
  state.view = name;
  for (const each of Object.keys(VIEWS)) {
    byId(each).hidden = each !== name;
    byId(`tab-${each}`)?.setAttribute("aria-selected", String(each === name));
  }
  document.body.dataset.view = name;
  VIEWS[name][1]();
  writeHash();
}

const KEYS = [
  ["j ↓", "next case", () => go(state.place + 1), ["j", "ArrowDown"]],
  ["k ↑", "previous case", () => go(state.place - 1), ["k", "ArrowUp"]],
  ["g Home", "first case", () => go(0), ["g", "Home"]],
  ["G End", "last case", () => go(state.shown.length - 1), ["G", "End"]],
  ["e", "first wrong step", toFirstError, ["e"]],
  ["[ ]", "threshold down, up", null, []],
  ["", "", () => setThreshold(state.focus, state.thresholds[state.focus] - 0.01), ["["]],
  ["", "", () => setThreshold(state.focus, state.thresholds[state.focus] + 0.01), ["]"]],
  ["/", "search", () => { show("cases"); byId("query").focus(); byId("query").select(); }, ["/"]],
  ["Esc", "leave the search, go back to the list", () => document.body.classList.remove("reading"), ["Escape"]],
  ["?", "these keys", () => byId("help").showModal(), ["?"]],
];
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const inside = event.target.closest("input, select, textarea, .canvas");
  if (inside) {
    if (event.key === "Escape") inside.blur();
    return;
  }
  const found = KEYS.find(([, , , keys]) => keys.includes(event.key));
  if (!found || (state.view !== "cases" && event.key !== "?" && !(event.key === "/" && data.cases.length))) return;
  if (["[", "]"].includes(event.key) && !data.prms[state.focus]) return;
  event.preventDefault();
  found[2]();
});

// --- the start -------------------------------------------------------------------------------------------------------

function start() {
  const wanted = readHash();
  byId("title").replaceChildren(visible(data.title), data.source ? el("span", { class: "source" }, data.source) : "");
  byId("notes").replaceChildren(...data.notes.map((note) => el("p", { class: "note" }, note)));
  byId("keys").append(...KEYS.filter(([keys]) => keys).map(([keys, said]) =>
    el("div", {}, el("dt", {}, keys.split(" ").map((key) => [el("kbd", {}, key), " "])), el("dd", {}, said))));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("more").addEventListener("click", (event) =>
    event.target.setAttribute("aria-expanded", String(document.body.classList.toggle("filtering"))));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  let timer = 0;
  byId("query").value = state.query;
  byId("query").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => { state.query = event.target.value; refresh(); }, 60);
  });
  const has = {
    cases: data.cases.length > 0 || data.live, numbers: data.tables.length + data.facts.length + data.cases.length > 0,
    curves: data.curves.length > 0, try: data.live,
  };
  const views = Object.keys(VIEWS).filter((name) => has[name]);
  byId("tabs").append(...views.map((name) => el("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, onclick: () => show(name),
  }, VIEWS[name][0])));
  if (data.curves.length) prepareCurves();
  if (data.live) prepareTry();
  prepareFilters();
  prepareThresholds();
  refresh(wanted);
  if (wanted && location.hash.includes("case=") && innerWidth > 800) reveal();
  // A server's page has no cases when it is loaded, whatever was looked at before.
  show(views.includes(state.view) && !(data.live && !data.cases.length) ? state.view : usualView());
  let width = innerWidth;
  addEventListener("resize", () => { drawRows(); if (innerWidth !== width) { width = innerWidth; VIEWS[state.view][1](); } });
  if (data.watch) setInterval(() => {
    if (!document.activeElement?.closest("input, select, textarea") && !byId("help").open) location.reload();
  }, 1000 * data.watch);
}
