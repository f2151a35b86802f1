// What PostgreSQL ran, transaction by transaction.

import { el, fill } from "./dom.js";

const KEPT = 12;
const KEYWORDS = new Set(
  `ALL AND AS ASC BEGIN BY CASE COMMIT DEFERRED DELETE DESC DISCARD ELSE END EXISTS FALSE FROM IN INSERT INTO IS ISOLATION
   LEVEL LIMIT NOT NULL ON ONLY OR ORDER READ RELEASE RESET RETURNING ROLLBACK ROWS SAVEPOINT SELECT SET THEN TO TRANSACTION
   TRUE UNION UPDATE VALUES WHEN WHERE WITH WRITE COMMITTED REPEATABLE SERIALIZABLE`.split(/\s+/),
);
const CLAUSES = new Set(["FROM", "WHERE", "VALUES", "RETURNING", "ORDER", "SET", "LIMIT"]);

/** The part of a pane that shows the statements of its user. */
export class Statements {
  #list;
  #note;
  #shown = new Map();
  #last = 0;

  constructor(list, note) {
    this.#list = list;
    this.#note = note;
    this.clear(false);
  }

  clear(signedIn) {
    this.#shown.clear();
    fill(this.#list);
    this.#note.textContent = signedIn
      ? "Nothing yet."
      : "The server's log tells callers apart by their token's jti. Without a token nothing can be shown.";
    this.#note.hidden = false;
  }

  /** Takes a line of the service's stream. */
  told(line) {
    if (line.kind === "open" && !line.log) {
      this.#note.textContent =
        "The log of the server that DATABASE_URL names cannot be read from here. Start the example without it to watch.";
    }
    if (line.number === undefined || line.number <= this.#last) return;
    this.#last = line.number;
    this.#note.hidden = true;
    const shown = this.#shown.get(line.transaction) ?? this.#begin(line.transaction);
    if (line.kind === "error" && line.code === "25P02") {
      // What was sent along with the statement that failed.
      shown.steps.append(el("li", { class: "step" }, el("span", { class: "label" }, `the check behind it: ${line.message}`)));
    } else if (line.kind === "error") {
      shown.error = true;
      shown.steps.append(el("li", { class: "error" }, el("strong", {}, `ERROR ${line.code}`), ` ${line.message}`));
    } else {
      const step = stepOf(line);
      shown.steps.append(statement(line, step.label));
      if (step.title) shown.title.textContent = step.title;
      if (step.ends) shown.end = step.ends;
    }
    shown.outcome.textContent = shown.error ? "refused, rolled back" : (shown.end ?? "open");
    shown.item.className = shown.error ? "refused" : "";
  }

  #begin(transaction) {
    const title = el("span", { class: "title" }, "…");
    const outcome = el("span", { class: "outcome" });
    const steps = el("ol", { class: "steps" });
    const item = el("li", {}, el("details", { open: true }, el("summary", {}, title, outcome), steps));
    this.#list.prepend(item);
    const shown = { item, title, outcome, steps };
    this.#shown.set(transaction, shown);
    if (this.#shown.size > KEPT) {
      const [oldest, { item }] = this.#shown.entries().next().value;
      item.remove();
      this.#shown.delete(oldest);
    }
    // Only the newest is open, unless somebody opens another.
    const second = this.#list.children[1]?.firstChild;
    if (second) second.open = false;
    return shown;
  }
}

/** What a statement is in the course of a request. */
function stepOf({ sql, parameters }) {
  if (sql.startsWith("SELECT pg_catalog.set_config('role'")) {
    return { label: `becomes ${parameters[0]}, with the token's claims`, title: `${parameters[2]} ${parameters[3]}` };
  }
  if (/^BEGIN.*COMMIT$/s.test(sql)) return { label: "the session forgets its user" };
  if (sql.startsWith("BEGIN")) return { label: "the request's transaction" };
  if (sql === "ROLLBACK") return { label: "ends it", ends: "rolled back" };
  if (sql === "COMMIT") return { label: "ends it", ends: "committed" };
  if (sql.startsWith("EXECUTE rolescope_end")) {
    return { label: "still the same role, and read only? Ends it, and the session forgets its user", ends: "read" };
  }
  if (sql.startsWith("SELECT 1 OPERATOR(pg_catalog./)")) {
    return { label: "still the same transaction and role? Else this fails, and nothing is stored" };
  }
  return { label: null };
}

function statement({ sql, parameters }, label) {
  return el(
    "li",
    { class: label ? "step" : "step own" },
    label ? el("span", { class: "label" }, label) : el("span", { class: "label" }, "the handler's statement"),
    el("pre", {}, el("code", {}, ...formatted(sql))),
    parameters.length
      ? el(
          "dl",
          { class: "parameters" },
          ...parameters.flatMap((value, i) => [el("dt", {}, `$${i + 1}`), el("dd", {}, value === null ? el("em", {}, "NULL") : value)]),
        )
      : null,
  );
}

/** Marks words, and breaks lines before clauses and, in long statements, after commas. */
export function formatted(sql) {
  const line = sql.replace(/\s+/g, " ").trim();
  const tokens = line.match(/'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\d+|[A-Za-z_][\w.]*|\d+|\s+|./g) ?? [];
  const long = line.length > 72;
  const wide = line.length > 160;
  const parts = [];
  let depth = 0;
  tokens.forEach((token, i) => {
    if (token === "(") depth += 1;
    if (token === ")") depth -= 1;
    const word = token.toUpperCase();
    const next = tokens.slice(i + 1).find((t) => t.trim())?.toUpperCase();
    if (token === " " && depth === 0 && CLAUSES.has(next) && long) return parts.push("\n");
    if (token === " " && tokens[i - 1] === "," && depth === 0 && wide) return parts.push(`\n${"\u00a0".repeat(4)}`);
    if (token.startsWith("'")) return parts.push(el("span", { class: "text" }, token));
    if (token.startsWith("$")) return parts.push(el("span", { class: "parameter" }, token));
    if (KEYWORDS.has(word) && token === word) return parts.push(el("b", {}, token));
    parts.push(token);
  });
  return parts;
}
