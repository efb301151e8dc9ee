// The endpoints of a server, from its own `/openapi.json`; each can be tried. It speaks to the page's own origin only, and
// shows what comes back as text.

const byId = (id) => document.getElementById(id);
function el(tag, fields, ...children) {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
}
const written = (value) => JSON.stringify(value, null, 2);

// An example of a schema: its required fields.
function example(schema, all, depth = 0) {
  if (schema.$ref) return example(all[schema.$ref.split("/").pop()] ?? {}, all, depth);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum.at(-1); // of roles the user
  if (depth > 5) return null;
  const forms = schema.oneOf ?? schema.anyOf;
  if (forms) return example(forms.find((one) => /Steps/.test(one.$ref ?? "")) ?? forms[0], all, depth + 1);
  if (schema.type === "array") return [example(schema.items ?? {}, all, depth + 1)];
  if (schema.type === "string") return "…";
  if (schema.type === "integer" || schema.type === "number") return schema.minimum ?? 0;
  const names = schema.required ?? [];
  return Object.fromEntries(names.map((name) => [name, example(schema.properties[name], all, depth + 1)]));
}

async function send(method, path, body, shown) {
  const token = byId("token").value.trim();
  const headers = { ...(body ? { "Content-Type": "application/json" } : {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  shown.textContent = "…";
  try {
    const answer = await fetch(path, { method, headers, body });
    shown.textContent = `${answer.status}\n${await answer.text()}`;
  } catch (error) {
    shown.textContent = error.message;
  }
}

function drawn(method, path, operation, all) {
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const shown = el("pre", {});
  const body = schema && el("textarea", { rows: 8, cols: 80, value: written(example(schema, all)), ariaLabel: `Body of ${path}` });
  const button = el("button", { type: "button", onclick: () => send(method, path, body?.value, shown) }, "Send");
  return el("details", {},
    el("summary", {}, el("code", {}, `${method} ${path}`), ` ${operation.summary ?? ""}`),
    ...(schema ? [el("p", {}, body)] : []), el("p", {}, button), shown,
    el("ul", {}, ...Object.entries(operation.responses ?? {}).map(([status, it]) => el("li", {}, `${status}: ${it.description ?? ""}`))));
}

async function start() {
  const document_ = await (await fetch("openapi.json")).json();
  const all = document_.components?.schemas ?? {};
  const operations = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [method.toUpperCase(), path, operation]));
  byId("asks").hidden = !operations.some(([, , operation]) => operation.security);
  byId("endpoints").replaceChildren(...operations.map((one) => drawn(...one, all)), el("details", {},
    el("summary", {}, "Fields of requests and answers"), el("pre", {}, written(all))));
}
start();
