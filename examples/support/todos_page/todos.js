// A pane's list of todos.

import { fill, inWords, onSubmit } from "./dom.js";
import { routes } from "./routes.js";

export class Todos {
  #pane;
  #page;
  #list;
  #form;
  #refusal;
  #empty;
  #items = new Map();
  #turn = 0;

  constructor(section, pane, page) {
    this.#pane = pane;
    this.#page = page;
    this.#list = section.querySelector(".list");
    this.#form = section.querySelector(".add");
    this.#refusal = section.querySelector(".list-refusal");
    this.#empty = section.querySelector(".empty");
    onSubmit(this.#form, (value) => this.#add(value === "other"));
  }

  /** Somebody else is here now. */
  identity() {
    this.#items.clear();
    fill(this.#list);
    fill(this.#refusal);
    this.#form.hidden = !this.#pane.user;
    this.#form.reset();
    fill(this.#form.querySelector("[role=alert]"));
  }

  focus() {
    this.#form.elements.task.focus();
  }

  async refresh() {
    this.#form.querySelector(".try").textContent = `Try to add it as ${this.#victim.name}`;
    // Answers may come in another order than they were asked for.
    const turn = (this.#turn += 1);
    try {
      const todos = await this.#pane.session.json(routes.todos);
      if (turn === this.#turn) this.#show(todos);
    } catch (error) {
      if (turn === this.#turn && error.status !== 401) fill(this.#refusal, ...inWords(error));
    }
  }

  get #victim() {
    return this.#page.other(this.#pane) ?? { id: "alice", name: "the curl commands' Alice" };
  }

  async #add(asOther) {
    const { task, public: open } = this.#form.elements;
    const text = task.value.trim() || (asOther ? "give everybody a raise" : "");
    if (!text) {
      task.focus();
      throw Object.assign(new Error(), { words: "What is it that is to be done?" });
    }
    const victim = asOther ? this.#victim : null;
    await this.#pane.session.json(routes.todos, {
      method: "POST",
      body: { task: text, public: open.checked, owner: victim?.id },
      words: victim ? { 403: `Refused: you are not ${victim.name}. The service asked for it all the same; row-level security did not let it.` } : null,
    });
    this.#form.reset();
    task.focus();
    this.#changed();
  }

  #changed() {
    this.#page.changed(this.#pane);
    return this.refresh();
  }

  #show(todos) {
    fill(this.#refusal);
    this.#empty.hidden = todos.length > 0;
    const gone = new Set(this.#items.keys());
    for (const todo of todos) {
      gone.delete(todo.id);
      let item = this.#items.get(todo.id);
      if (!item) this.#items.set(todo.id, (item = this.#item(todo.id)));
      item.show(todo);
      this.#list.append(item.element);
    }
    for (const id of gone) {
      this.#items.get(id).element.remove();
      this.#items.delete(id);
    }
  }

  #item(id) {
    const element = document.querySelector("#todo").content.cloneNode(true).firstElementChild;
    const part = (selector) => element.querySelector(selector);
    const [open, edit, remove] = element.querySelectorAll(".act button");
    const form = part(".edit");
    let todo = null;

    const act = async (request) => {
      fill(this.#refusal);
      try {
        await this.#pane.session.request(routes.todo(id), request);
        await this.#changed();
      } catch (error) {
        fill(this.#refusal, ...inWords(error));
      }
    };
    const editing = (on) => {
      form.hidden = !on;
      part(".row").hidden = on;
      if (on) {
        form.elements.task.value = todo.task;
        form.elements.task.select();
      } else {
        edit.focus();
      }
    };
    open.addEventListener("click", () => act({ method: "PATCH", body: { public: !todo.public } }));
    remove.addEventListener("click", async () => {
      const next = element.nextElementSibling ?? element.previousElementSibling;
      await act({ method: "DELETE" });
      if (!element.isConnected) (next?.querySelector(".act:not([hidden]) button") ?? this.#form.elements.task).focus();
    });
    edit.addEventListener("click", () => editing(true));
    part("[value=cancel]").addEventListener("click", () => editing(false));
    form.addEventListener("keydown", (event) => event.key === "Escape" && editing(false));
    onSubmit(form, async () => {
      await this.#pane.session.request(routes.todo(id), { method: "PATCH", body: { task: form.elements.task.value.trim() } });
      await this.#changed();
      editing(false);
    });

    const show = (now) => {
      todo = now;
      const own = todo.owner === this.#pane.user?.id;
      element.dataset.id = id;
      part(".task").textContent = todo.task;
      part(".owner").textContent = own ? "yours" : `of ${this.#nameOf(todo.owner)}`;
      part(".seen").textContent = todo.public ? "public" : "private";
      part(".seen").dataset.public = todo.public;
      part(".act").hidden = !own;
      open.textContent = todo.public ? "Make private" : "Make public";
      for (const button of [open, edit, remove]) {
        button.setAttribute("aria-label", `${button.textContent}: ${todo.task}`);
      }
    };
    return { element, show };
  }

  #nameOf(owner) {
    const known = this.#page.names.get(owner);
    if (known) return known;
    return owner.includes("-") ? `user ${owner.slice(0, 8)}` : `the curl commands' ${owner}`;
  }
}
