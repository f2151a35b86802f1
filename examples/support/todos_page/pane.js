// A pane: one user, or a stranger.

import { account } from "./account.js";
import { el, fill, inWords } from "./dom.js";
import { Session } from "./session.js";
import { Statements } from "./sql.js";
import { Todos } from "./todos.js";

const TIMES = new Set(["exp", "iat", "nbf"]);
const MEANINGS = {
  role: "the database role that statements run as",
  sub: "the user, which the policies compare",
  sid: "the session, which can be ended",
  jti: "this token, by which its statements are found",
  exp: "the end of the token",
  iat: "when it was issued",
  iss: "who issued it",
  aud: "for whom it is",
};

export class Pane {
  #page;
  #todos;
  #statements;
  #renewals = 0;

  constructor(key, page) {
    this.#page = page;
    this.element = document.querySelector("#pane").content.cloneNode(true).firstElementChild;
    this.element.dataset.pane = key;
    this.element.setAttribute("aria-label", `Pane ${key}`);
    this.session = new Session(key);
    this.#todos = new Todos(this.#part(".todos"), this, page);
    this.#statements = new Statements(this.#part(".transactions"), this.#part(".sql .note"));
    account(this.#part(".account"), this.session, page.mailbox);

    this.session.addEventListener("identity", ({ detail }) => this.#identity(detail));
    this.session.addEventListener("token", () => this.#token());
    this.session.addEventListener("told", ({ detail }) => this.#statements.told(detail));
    for (const button of this.element.querySelectorAll(".leave button")) {
      button.addEventListener("click", () => this.#leave(button));
    }
    setInterval(() => this.#tick(), 500);
  }

  start() {
    this.session.start();
  }

  focus() {
    this.#part(".account input").focus();
  }

  /** The user's id and name, or null. */
  get user() {
    const claims = this.session.claims;
    return claims && { id: claims.sub, name: nameOf(claims) };
  }

  refresh() {
    return this.#todos.refresh();
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #identity(why) {
    const { user } = this;
    if (user) this.#page.learn(user.id, user.name);
    this.#renewals = 0;
    this.element.dataset.user = user ? user.name : "";
    this.#part(".who h2").textContent = user ? user.name : "A stranger";
    this.#part(".face").textContent = user ? user.name[0].toUpperCase() : "?";
    this.#part(".whose").textContent = user ? `Todos that ${user.name} may see` : "Todos that everyone may see";
    this.#part(".leave").hidden = !user;
    this.#part(".account").hidden = Boolean(user);
    this.#part(".token").hidden = !user;
    fill(this.#part(".ended"), why);
    fill(this.#part(".renewed"));
    this.#statements.clear(Boolean(user));
    this.#todos.identity();
    this.#claims();
    this.refresh();
    this.#page.changed(this);
    // The keyboard stays where its user was.
    if (this.element.contains(document.activeElement) || document.activeElement === document.body) {
      if (user) this.#todos.focus();
      else if (this.#started) this.focus();
    }
    this.#started = true;
  }
  #started = false;

  #token() {
    if (this.element.dataset.user) {
      this.#renewals += 1;
      const times = this.#renewals === 1 ? "once" : `${this.#renewals} times`;
      fill(this.#part(".renewed"), `Renewed ${times} without asking: only a short token is out at any time.`);
    }
    this.element.dataset.renewals = this.#renewals;
    this.#claims();
  }

  #claims() {
    const { claims } = this.session;
    this.#part(".role").textContent = claims?.role ?? "anon";
    const rows = Object.entries(claims ?? {}).flatMap(([name, value]) => [
      el("dt", { title: MEANINGS[name] }, name),
      el(
        "dd",
        { "data-claim": name },
        el("span", { class: "value" }, TIMES.has(name) ? new Date(value * 1000).toLocaleTimeString() : [value].flat().join(", ")),
        MEANINGS[name] ? el("span", { class: "meaning" }, MEANINGS[name]) : null,
      ),
    ]);
    fill(this.#part(".claims"), ...rows);
    this.#tick();
  }

  #tick() {
    const { remaining, lifetime } = this.session;
    this.#part(".left").textContent = remaining > 0 ? `${Math.ceil(remaining)} s left` : "expired";
    this.#part("progress").value = lifetime ? remaining / lifetime : 0;
  }

  async #leave(button) {
    button.disabled = true;
    try {
      await this.session.signOut(button.value === "everywhere");
    } catch (error) {
      fill(this.#part(".ended"), ...inWords(error));
    } finally {
      button.disabled = false;
    }
  }
}

function nameOf({ email, sub }) {
  const name = email?.split("@")[0] || sub;
  return name[0].toUpperCase() + name.slice(1);
}
