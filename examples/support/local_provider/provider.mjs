// An OpenID provider on a free port of 127.0.0.1, for examples and tests. It ends when its standard input does.
//
// The argument is JSON: { port, issuerPath, audience, tokenSeconds, jwksCacheControl, clients, accounts, github }.
//   clients:  [{ client_id, client_secret?, redirect_uris?, alg, claims }]; one without redirect_uris gets tokens of its own
//             (client_credentials), one with them in the name of an account (authorization_code with PKCE).
//   accounts: { name: claims }. Whoever wants to be one only says so: there are no passwords.
// `claims` are put into the access tokens, which are JWTs (RFC 9068) for `audience`, signed with `alg`.
//
// With `github` it is a plain OAuth 2 provider (no `openid`, opaque tokens) with the user API of GitHub behind it:
//   github:   { name: { user, emails } }, what `{issuer}/api/user` and `{issuer}/api/user/emails` answer for an account.
//
// It answers each line of its standard input with a line of its standard output, JSON both:
//   { "sign": "b", "publish": ["a", "b"] }   from now on the keys b sign, and the keys of a and b are in the JWKS
//   { "github": { .. } }                     from now on these are what the user API answers
//   {}                                       nothing
// The answer is { issuer, jwksRequests, discoveryRequests }, the numbers since the start. The first line comes by itself.

import { createServer } from 'node:http';
import { generateKeyPair } from 'node:crypto';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

// Imported after its warnings are off, which say that this is no provider for production.
console.info = console.warn = () => {};
const { Provider } = await import('oidc-provider');

const config = JSON.parse(process.argv[1]);
const generate = promisify(generateKeyPair);
const requests = { jwks: 0, discovery: 0 };
const keys = new Map();
let provider;
let handler;

// The three keys of a name, made when it is first heard.
async function keysOf(name) {
  if (!keys.has(name)) {
    const pairs = await Promise.all([
      ['RS256', generate('rsa', { modulusLength: 2048 })],
      ['ES256', generate('ec', { namedCurve: 'P-256' })],
      ['EdDSA', generate('ed25519')],
    ].map(async ([alg, pair]) => [alg, (await pair).privateKey]));
    keys.set(name, pairs.map(([alg, key]) => (
      { ...key.export({ format: 'jwk' }), kid: `${name}-${alg}`, alg, use: 'sig' })));
  }
  return keys.get(name);
}

// A provider's keys are fixed, so another one takes its place. What has been begun goes on: all share their memory.
async function use(sign, publish) {
  const sets = await Promise.all(publish.map(keysOf));
  const next = new Provider(issuer, {
    jwks: { keys: sets.flat() },
    clients: config.clients.map(({ alg, claims, ...client }) => ({
      id_token_signed_response_alg: alg,
      ...(client.redirect_uris
        ? { grant_types: ['authorization_code'], response_types: ['code'] }
        : { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] }),
      ...(client.client_secret ? {} : { token_endpoint_auth_method: 'none' }),
      ...client,
    })),
    cookies: { keys: ['of a provider for tests'] },
    pkce: { required: () => true },
    scopes: config.github ? ['read:user', 'user:email'] : ['openid', 'todos'],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    extraTokenClaims: (_, token) => (token.accountId
      ? config.accounts[token.accountId]
      : config.clients.find((client) => client.client_id === token.clientId).claims),
    findAccount: (_, sub) => config.accounts[sub] && { accountId: sub, claims: () => ({ sub }) },
    loadExistingGrant: grant,
    interactions: { url: (_, { uid }) => `${path}/interaction/${uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: !config.github,
        defaultResource: () => config.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, audience, client) => ({
          audience,
          scope: 'todos',
          accessTokenFormat: 'jwt',
          accessTokenTTL: config.tokenSeconds,
          jwt: { sign: { alg: client.idTokenSignedResponseAlg, kid: `${sign}-${client.idTokenSignedResponseAlg}` } },
        }),
      },
    },
  });
  next.use(async (ctx, proceed) => {
    await proceed();
    if (ctx.oidc?.route in requests) requests[ctx.oidc.route] += 1;
    if (ctx.oidc?.route === 'jwks' && config.jwksCacheControl) ctx.set('cache-control', config.jwksCacheControl);
  });
  provider = next;
  handler = next.callback();
}

// Asks who it is, unless the client or the answer says so. Whoever wants to be nobody is denied.
async function logIn(req, res) {
  const { params } = await provider.interactionDetails(req, res);
  const accountId = new URL(req.url, issuer).searchParams.get('as') ?? params.login_hint;
  if (accountId === 'nobody') {
    await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'they said no' });
    return;
  }
  if (Object.hasOwn(config.accounts, accountId)) {
    await provider.interactionFinished(req, res, { login: { accountId } });
    return;
  }
  const links = [...Object.keys(config.accounts), 'nobody'].map((account) => `<p><a href="?as=${account}">I am ${account}</a>`);
  res.setHeader('content-type', 'text/html; charset=utf-8');
  res.end(`<!doctype html><title>Log in</title><h1>Who are you?</h1>${links.join('')}`);
}

// Nobody is asked for their consent.
async function grant({ oidc: { client: { clientId }, session: { accountId } } }) {
  const granted = new provider.Grant({ accountId, clientId });
  if (config.github) {
    granted.addOIDCScope('read:user user:email');
  } else {
    granted.addOIDCScope('openid todos');
    granted.addResourceScope(config.audience, 'todos');
  }
  await granted.save();
  return granted;
}

// GitHub's user API, as far as a sign-in asks it: https://docs.github.com/en/rest/users.
async function userApi(req, res) {
  const answer = (status, body) => {
    res.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
  };
  if (!req.headers['user-agent']) return answer(403, { message: 'a User-Agent is required' });
  const [scheme, value] = (req.headers.authorization ?? '').split(' ');
  const token = /^bearer$/i.test(scheme) && value ? await provider.AccessToken.find(value) : undefined;
  if (!token) return answer(401, { message: 'Bad credentials' });
  const { user, emails } = config.github[token.accountId];
  const scopes = token.scope?.split(' ') ?? [];
  if (req.url === `${path}/api/user`) return answer(200, user);
  if (req.url === `${path}/api/user/emails` && scopes.includes('user:email')) return answer(200, emails);
  return answer(404, { message: 'Not Found' });
}

const path = config.issuerPath ?? '';
const server = createServer((req, res) => {
  if (!req.url.startsWith(`${path}/`)) {
    res.writeHead(404).end();
  } else if (req.url.startsWith(`${path}/interaction/`)) {
    logIn(req, res).catch((error) => res.writeHead(400).end(String(error)));
  } else if (config.github && req.url.startsWith(`${path}/api/`)) {
    userApi(req, res).catch((error) => res.writeHead(500).end(String(error)));
  } else {
    req.originalUrl = req.url;
    req.url = req.url.slice(path.length);
    handler(req, res);
  }
});
await new Promise((ready, failed) => {
  server.once('error', failed).listen(config.port, '127.0.0.1', ready);
});
const issuer = `http://127.0.0.1:${server.address().port}${path}`;
await use('a', ['a']);

const answer = () => console.log(JSON.stringify({
  issuer, jwksRequests: requests.jwks, discoveryRequests: requests.discovery,
}));
answer();
for await (const line of createInterface({ input: process.stdin })) {
  const { sign, publish, github } = JSON.parse(line);
  if (sign) await use(sign, publish);
  if (github) config.github = github;
  answer();
}
process.exit();
