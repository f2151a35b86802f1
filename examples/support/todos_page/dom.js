// Elements from plain values. Text is always text: nothing here parses HTML, and the page's policy forbids it.

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child != null));
}

/** Does what a form is for once at a time, and shows beside it why that did not work. */
export function onSubmit(form, action) {
  const alert = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    fill(alert);
    try {
      await action(event.submitter?.value ?? "");
    } catch (error) {
      fill(alert, ...inWords(error));
    } finally {
      form.ariaBusy = "false";
    }
  });
}

/** What a person is told of a failure. */
export function inWords(error) {
  const words = error.words ?? `Something went wrong here: ${error.message}`;
  const database = error.answer?.code?.length === 5;
  const said = error.answer?.message;
  return [
    el("span", {}, words),
    said ? el("span", { class: "said" }, `${database ? `PostgreSQL, ${error.answer.code}: ` : ""}${said}`) : null,
  ].filter(Boolean);
}
