// Who a pane is: its tokens, its requests, and what it is told as it happens.
//
// The tokens are kept in sessionStorage, for each pane its own, so that one page can be two users and a reload keeps both.
// Any script of this origin can read them there; the page's policy allows none but its own files. In production, with one
// user a page: the access token in memory only, the refresh token in a cookie that is HttpOnly, Secure, SameSite=Strict and
// has the refresh route as its Path, which no script can read.

import { routes } from "./routes.js";

/** An answer that is no success, in words. */
export class Refusal extends Error {
  constructor(status, answer, words) {
    super(answer?.message ?? `status ${status}`);
    Object.assign(this, { status, answer, words: words ?? inGeneral(status) });
  }
}

function inGeneral(status) {
  if (status === 400 || status === 422) return "That was not accepted.";
  if (status === 401) return "You must sign in for that.";
  if (status === 403) return "You may not do that.";
  if (status === 404) return "There is no such row that is yours to change.";
  if (status === 409) return "That is taken.";
  if (status === 429) return "Too many attempts: wait a little.";
  if (status === 503) return "The service cannot answer now: try again.";
  return "The service failed.";
}

/**
 * One user's session. Events: `identity` when it becomes another or none (detail: why, if it was ended), `token` when it
 * has a new token, and `told` for each line of the service's stream.
 */
export class Session extends EventTarget {
  #key;
  #tokens = null;
  #renewing = null;
  #stream = null;
  #lastWord = null;

  constructor(key) {
    super();
    this.#key = `todos-pane-${key}`;
    const kept = sessionStorage.getItem(this.#key);
    if (kept) this.#tokens = JSON.parse(kept);
  }

  /** Must be called once there are listeners. */
  start() {
    this.#emit("identity");
    if (this.#tokens) this.#follow();
  }

  get signedIn() {
    return this.#tokens !== null;
  }

  get token() {
    return this.#tokens?.access ?? null;
  }

  /** The claims as the token has them. They are only shown: whether they are true, the service checks. */
  get claims() {
    if (!this.#tokens) return null;
    const part = this.#tokens.access.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  /** Of the access token, in seconds, by this machine's clock. */
  get remaining() {
    return this.#tokens ? Math.max(0, (this.#tokens.expires - Date.now()) / 1000) : 0;
  }

  get lifetime() {
    return this.#tokens?.lifetime ?? 0;
  }

  async signIn(email, password) {
    this.#take(await post(routes.login, { email, password }, { 401: "Unknown address, wrong password, or not confirmed yet." }));
    this.#emit("identity");
    this.#follow();
  }

  async signOut(everywhere) {
    const path = everywhere ? routes.logoutEverywhere : routes.logout;
    try {
      await this.request(path, { method: "POST" });
    } finally {
      if (this.#tokens) this.#end(null);
    }
  }

  /** Sends a request as this user. A token that has run out is renewed first: the caller notices nothing. */
  async request(path, options = {}) {
    const { access } = this.#tokens ?? {};
    let response = await send(path, access, options);
    if (response.status === 401 && access) {
      await this.#renew(access);
      response = await send(path, this.#tokens?.access, options);
    }
    if (!response.ok) throw await refusal(response, options.words);
    return response;
  }

  async json(path, options) {
    const response = await this.request(path, options);
    return response.status === 204 ? null : response.json();
  }

  /** Renews once, however many requests wait for it. */
  #renew(refused) {
    if (this.#tokens?.access !== refused) return Promise.resolve();
    this.#renewing ??= this.#renewNow().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renewNow() {
    const before = this.#tokens;
    try {
      const answer = await post(routes.refresh, { refresh_token: before.refresh });
      if (this.#tokens === before) this.#take(answer);
    } catch (error) {
      if (error.status === 401 && this.#tokens === before) {
        this.#end(this.#lastWord ?? "Your session has ended.");
        error.words = "Your session has ended: sign in again.";
      }
      throw error;
    }
  }

  #take(answer) {
    const lifetime = answer.expires_in;
    this.#tokens = {
      access: answer.access_token,
      refresh: answer.refresh_token,
      expires: Date.now() + lifetime * 1000,
      lifetime,
    };
    this.#lastWord = null;
    sessionStorage.setItem(this.#key, JSON.stringify(this.#tokens));
    this.#emit("token");
  }

  #end(why) {
    this.#tokens = null;
    sessionStorage.removeItem(this.#key);
    this.#stream?.abort();
    this.#emit("identity", why);
  }

  /** Reads the service's stream. It ends with each token, and is asked for again with the next. */
  async #follow() {
    this.#stream?.abort();
    const stream = (this.#stream = new AbortController());
    while (this.#tokens && !stream.signal.aborted) {
      try {
        const response = await this.request(routes.events, { signal: stream.signal });
        for await (const line of lines(response.body)) {
          if (line.kind === "ended") this.#lastWord = line.revoked ? revoked : null;
          this.#emit("told", line);
        }
      } catch (error) {
        if (stream.signal.aborted || error.status === 401) return;
        // The service is away: it may come back.
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const revoked = "You were signed out: this account's sessions were ended somewhere else, and its token is refused from then on.";

/** Sends JSON without a token, and returns what is answered. */
export async function post(path, body, words) {
  const response = await send(path, null, { method: "POST", body });
  if (!response.ok) throw await refusal(response, words);
  return response.headers.get("content-type")?.includes("json") ? response.json() : null;
}

async function send(path, token, { method = "GET", body, signal } = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    error.words = "The service cannot be reached.";
    throw error;
  }
}

async function refusal(response, words) {
  const answer = await response.json().catch(() => null);
  return new Refusal(response.status, answer, words?.[response.status]);
}

/** Each line of JSON as it comes. */
export async function* lines(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}
