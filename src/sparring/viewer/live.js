
// --- live: score and search on the server that this page came from ---------------------------------------------------
//
// Contract: it speaks to the page's own origin only, by `/v1/models`, `/v1/score` and `/v1/search`; what comes back becomes a
// case beside the others, each PRM with a row of scores of its own. Errors are shown as the server says them.

const served = new Map(); // what `/v1/models` says of each model, by its id

async function ask(path, body) {
  const token = byId("token").value.trim();
  const answer = await fetch(path, {
    method: body ? "POST" : "GET",
    body: body && JSON.stringify(body),
    headers: {
      ...(body ? { "Content-Type": "application/json" } : {}),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    },
  });
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({}));
  throw new Error(found.error?.message ?? `the server answers ${answer.status}`);
}

const say = (said) => { byId("said").textContent = said; };
const chosenOf = (id) => byId(id).value || undefined;

// What a form does: its buttons rest while it works, and what goes wrong is said.
const guarded = (work) => async (event) => {
  event.preventDefault();
  const buttons = [...byId("try").querySelectorAll("button")];
  buttons.forEach((button) => (button.disabled = true));
  try {
    await work();
    say("");
  } catch (error) {
    say(error.message);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
};

const scorePasted = guarded(async () => {
  say("Scoring …");
  const problem = byId("problem").value, text = byId("solution").value;
  const answer = await (await ask("/v1/score", { model: chosenOf("model"), items: [{ problem, text }] })).json();
  const [found] = answer.results;
  if (!found?.steps?.length) throw new Error("the server found no step in this text");
  const prm = prmPlace(answer.model, answer.threshold, answer.threshold_rule);
  addCase("pasted", problem, "pasted", { solutions: [{ steps: found.steps, scores: onlyRow(prm, found.scores) }] });
});

const searchProblem = guarded(async () => {
  say("Searching …");
  const problem = byId("problem").value, method = byId("method").value, places = new Map(), nodes = [], solutions = [];
  const name = chosenOf("model"), of = served.get(name);
  const prm = prmPlace(name ?? "PRM", of?.threshold ?? 0.5, of?.threshold_rule ?? "");
  const answer = await ask("/v1/search", {
    model: name, policy: chosenOf("policy"), problem, method, n: Number(byId("n").value),
  });
  for await (const [event, it] of events(answer.body)) {
    if (event === "error") throw new Error(it.error?.message ?? "the search failed");
    if (event === "step") {
      takeNode(nodes, places, it);
      say(`Searching … ${nodes.length} steps`);
    } else if (event === "solution") {
      markEnd(nodes, places.get(it.node), it);
      solutions.push({
        steps: it.steps, scores: onlyRow(prm, it.scores), answer: it.answer ?? undefined, total: it.value, picked: it.chosen,
      });
    } else if (event === "done") {
      const cost = Object.entries(it.usage ?? {}).map(([what, value]) => [what.replaceAll("_", " "), brief(value ?? 0)]);
      addCase("searched", problem, method, {
        solutions: solutions.length ? solutions : [{}],
        chosen: Math.max(0, solutions.findIndex((one) => one.picked)),
        tree: nodes.length ? { nodes, cost } : undefined,
        notes: [`Answer: ${it.answer ?? "none"}`],
      });
    }
  }
});

// A node comes when it is scored, and once more when it is known whether the search goes on from it.
function takeNode(nodes, places, it) {
  const place = places.get(it.node);
  if (place !== undefined) nodes[place][4] = it.kept ?? nodes[place][4];
  else {
    places.set(it.node, nodes.length);
    nodes.push([places.get(it.parent) ?? -1, it.step, it.score ?? null, null, it.kept ?? true, "open", false]);
  }
}
function markEnd(nodes, place, it) {
  if (place !== undefined && it.finished) nodes[place][5] = "finished";
  for (let at = place ?? -1; at >= 0 && it.chosen; at = nodes[at][0]) nodes[at][6] = true;
}

// The place of a PRM among those of the page; a new one is added.
function prmPlace(name, threshold, rule) {
  const place = data.prms.findIndex((prm) => prm.name === name);
  if (place >= 0) return place;
  data.prms.push({ name, threshold, rule });
  state.thresholds.push(threshold);
  prepareThresholds();
  return data.prms.length - 1;
}
const onlyRow = (prm, scores) => data.prms.map((_, place) => (place === prm ? scores : null));

function addCase(id, question, source, more) {
  const one = { id: `${id} ${data.cases.length + 1}`, question, tags: { source: [source] }, ...more, index: data.cases.length };
  data.cases.push(one);
  const prm = one.solutions[0].scores?.findIndex(Boolean) ?? -1;
  Object.assign(state, { query: "", outcome: "all", facets: {}, solution: null, focus: Math.max(0, prm) });
  byId("query").value = "";
  prepareFilters();
  document.body.classList.add("reading");
  show("cases");
  refresh(one.id);
}

// The events of a stream of server-sent events: [name, content].
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value.replaceAll("\r", "");
    for (let end = waiting.indexOf("\n\n"); end >= 0; end = waiting.indexOf("\n\n")) {
      const lines = waiting.slice(0, end).split("\n");
      waiting = waiting.slice(end + 2);
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
      const content = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (content && content !== "[DONE]") yield [name, JSON.parse(content)];
    }
  }
}

// Put a problem that is looked at into the form.
function fillForm(one, solution) {
  byId("problem").value = one.question;
  byId("solution").value = (solution.steps ?? []).join("\n\n");
  show("try");
}

function prepareTry() {
  const select = (label, id) => el("label", { id: `${id}-label` }, `${label} `, el("select", { id }));
  byId("try").append(
    el("form", { onsubmit: scorePasted },
      el("label", {}, "Problem", el("textarea", { id: "problem", rows: 4, required: true, dir: "auto" })),
      el("label", {}, "Solution, a step on each line or in each paragraph", el("textarea", { id: "solution", rows: 8, dir: "auto" })),
      el("p", { class: "inline" }, select("PRM", "model"),
        el("label", { hidden: !data.token }, "Token ", el("input", { id: "token", type: "password", autocomplete: "off" })),
        el("button", {}, "Score")),
      el("p", { class: "inline", id: "searching", hidden: true }, select("Policy", "policy"), select("Method", "method"),
        el("label", {}, "N ", el("input", { id: "n", type: "number", min: 1, max: 256, value: 4 })),
        el("button", { type: "button", onclick: searchProblem }, "Search"))),
    el("p", { id: "said", role: "status", "aria-live": "polite" }));
  byId("token").addEventListener("change", learnModels);
  learnModels();
}
// Which models there are; without a policy nothing can be searched.
async function learnModels() {
  try {
    const found = await (await ask("/v1/models")).json();
    served.clear();
    for (const one of found.data ?? []) served.set(one.id, one.sparring ?? {});
    say("");
  } catch (error) {
    say(error.message);
    return;
  }
  const options = (ids) => ids.map((id) => el("option", { value: id }, id));
  const policies = [...served.keys()].filter((id) => served.get(id).role === "policy");
  byId("model").replaceChildren(...options([...served.keys()].filter((id) => served.get(id).role !== "policy")));
  byId("policy").replaceChildren(...options(policies));
  byId("method").replaceChildren(...options(served.get(policies[0])?.methods ?? []));
  byId("searching").hidden = policies.length === 0;
  byId("policy-label").hidden = policies.length < 2;
}
