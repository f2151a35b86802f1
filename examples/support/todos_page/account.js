// Signing up and in.

import { fill, inWords, onSubmit } from "./dom.js";
import { routes } from "./routes.js";
import { post } from "./session.js";

/** Of the two that need no typing. Anybody can read it here: it is for an example's database, which ends with it. */
const PASSWORD = "only for this example";

/** Makes a pane's form work. */
export function account(form, session, mailbox) {
  const done = form.querySelector(".done");
  const { email, password } = form.elements;

  async function signUp(address, secret) {
    await post(routes.signUp, { email: address, password: secret });
  }

  onSubmit(form, async (what) => {
    fill(done);
    if (!email.value.includes("@")) return refuse(email, "An address has an @ in it.");
    if (!password.value) return refuse(password, "The password is missing.");
    if (what === "sign-up") {
      await signUp(email.value, password.value);
      fill(done, "A mail is on its way. Open the mailbox, confirm the address, then sign in.");
    } else {
      await session.signIn(email.value, password.value);
      form.reset();
    }
  });

  for (const button of form.querySelectorAll(".shortcuts button")) {
    button.addEventListener("click", async () => {
      const address = `${button.value}@example.com`;
      const alert = form.querySelector("[role=alert]");
      fill(alert);
      button.disabled = true;
      try {
        await session.signIn(address, PASSWORD).catch(async (error) => {
          if (error.status !== 401) throw error;
          const known = mailbox.length;
          await signUp(address, PASSWORD);
          await mailbox.confirm(await mailbox.newest(address, "verify", known));
          await session.signIn(address, PASSWORD);
        });
        form.reset();
      } catch (error) {
        fill(alert, ...inWords(error));
      } finally {
        button.disabled = false;
      }
    });
  }
}

function refuse(input, words) {
  input.focus();
  throw Object.assign(new Error(words), { words });
}
