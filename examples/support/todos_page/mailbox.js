// The mails that would be sent.

import { el, fill, inWords } from "./dom.js";
import { routes } from "./routes.js";
import { lines, post } from "./session.js";

const SUBJECTS = {
  verify: "Confirm your address",
  registered: "You have an account already",
  reset: "Choose a new password",
};

export class Mailbox {
  #dialog;
  #list;
  #count;
  #mails = [];
  #waiting = [];

  constructor(dialog, button) {
    this.#dialog = dialog;
    this.#list = dialog.querySelector("ol");
    this.#count = button.querySelector(".count");
    button.addEventListener("click", () => dialog.showModal());
    fill(this.#list, el("li", { class: "note" }, "Empty."));
  }

  async start() {
    for (;;) {
      try {
        const response = await fetch(routes.mails, { cache: "no-store" });
        let seen = 0;
        for await (const mail of lines(response.body)) {
          seen += 1;
          if (seen > this.#mails.length) this.#take(mail);
        }
      } catch {
        // The service is away, and may come back.
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  /** Comes about with the newest mail of this kind to somebody, once there is one beyond the first `known`. */
  newest(to, kind, known) {
    const found = this.#mails.slice(known).findLast((mail) => mail.to === to && mail.kind === kind);
    if (found) return Promise.resolve(found);
    return new Promise((resolve) => this.#waiting.push({ to, kind, resolve }));
  }

  get length() {
    return this.#mails.length;
  }

  async confirm(mail) {
    await post(routes.verify, { token: mail.token }, { 400: "This token is not good, or not any more." });
    mail.confirmed();
  }

  #take(mail) {
    if (this.#mails.length === 0) fill(this.#list);
    this.#mails.push(mail);
    this.#count.textContent = this.#mails.length;
    this.#list.prepend(this.#shown(mail));
    const asked = this.#waiting.filter(({ to, kind }) => to === mail.to && kind === mail.kind);
    this.#waiting = this.#waiting.filter((waiting) => !asked.includes(waiting));
    for (const { resolve } of asked) resolve(mail);
  }

  #shown(mail) {
    const outcome = el("p", { role: "status" });
    const open = el("button", { type: "button", class: "primary" }, "Confirm the address");
    open.addEventListener("click", async () => {
      try {
        await this.confirm(mail);
      } catch (error) {
        outcome.className = "refusal";
        fill(outcome, ...inWords(error));
      }
    });
    mail.confirmed = () => {
      open.disabled = true;
      outcome.className = "done";
      fill(outcome, "Confirmed.");
    };
    return el(
      "li",
      {},
      el("p", { class: "subject" }, SUBJECTS[mail.kind] ?? mail.kind),
      el("p", { class: "note" }, `to ${mail.to}`),
      mail.token ? el("code", { class: "secret" }, mail.token) : null,
      mail.kind === "verify" ? el("p", {}, open) : null,
      outcome,
    );
  }
}
