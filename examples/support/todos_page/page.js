// The page: its panes, and what they know of each other.

import { Mailbox } from "./mailbox.js";
import { Pane } from "./pane.js";

const place = document.querySelector("#panes");
const panes = [];
const mailbox = new Mailbox(document.querySelector("#mailbox"), document.querySelector("#open-mailbox"));

/** Whose an id is, as far as somebody has signed in here: the service tells nobody other people's addresses. */
const names = new Map(JSON.parse(sessionStorage.getItem("todos-names") ?? "[]"));

const page = {
  mailbox,
  names,
  learn(id, name) {
    names.set(id, name);
    sessionStorage.setItem("todos-names", JSON.stringify([...names]));
  },
  /** Somebody else who is signed in here. */
  other(pane) {
    return panes.map(({ user }) => user).find((user) => user && user.id !== pane.user?.id) ?? null;
  },
  /** Called when what one pane did may show in the others. */
  changed(pane) {
    for (const other of panes) if (other !== pane) other.refresh();
  },
};

function addPane() {
  const pane = new Pane(String(panes.length + 1), page);
  panes.push(pane);
  place.append(pane.element);
  place.dataset.panes = panes.length;
  sessionStorage.setItem("todos-panes", panes.length);
  document.querySelector("#add-pane").disabled = panes.length === 3;
  pane.start();
  return pane;
}

document.querySelector("#add-pane").addEventListener("click", () => addPane().focus());
const kept = Number(sessionStorage.getItem("todos-panes"));
for (let i = 0; i < Math.max(2, kept); i += 1) addPane();
mailbox.start();
