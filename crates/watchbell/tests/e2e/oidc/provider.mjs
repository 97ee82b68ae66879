// A certified OpenID Connect provider (npm's oidc-provider) that lets one account in without a password, and a browser that
// is a few lines: walks the implicit flow and prints the ID token it ends with. Arguments: key and certificate (PEM), audience,
// and where the package lies.
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';

const [keyFile, certFile, audience, modules] = process.argv.slice(2);
const { default: Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)];
const back = 'https://client.example/back';

function jwk(type, options, more) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), ...more };
}

const server = createServer({ key, cert });
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `https://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: audience, redirect_uris: [back], response_types: ['id_token'], grant_types: ['implicit'],
    token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'RS256',
  }],
  responseTypes: ['id_token'],
  jwks: { keys: [
    jwk('rsa', { modulusLength: 2048 }, { use: 'sig', alg: 'RS256', kid: 'rsa' }),
    jwk('ec', { namedCurve: 'P-256' }, { use: 'sig', alg: 'ES256', kid: 'ec' }),
  ] },
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['not a secret: it lives as long as a test'] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['ml', 'ops'] }) }),
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid');
    await grant.save();
    return grant;
  },
});
const answer = provider.callback();
server.on('request', (req, res) => {
  if (req.url.startsWith('/login/')) {
    provider.interactionFinished(req, res, { login: { accountId: 'ada' } }, { mergeWithLastSubmission: false });
  } else {
    answer(req, res);
  }
});

const jar = new Map();
function get(url) {
  return new Promise((done, failed) => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    request(url, { ca: cert, headers: { cookie } }, (res) => {
      for (const line of res.headers['set-cookie'] ?? []) {
        const [name, value] = line.split(';')[0].split(/=(.*)/s);
        jar.set(name, value);
      }
      let body = '';
      res.on('data', (piece) => { body += piece; });
      res.on('end', () => done({ code: res.statusCode, to: res.headers.location, body }));
    }).on('error', failed).end();
  });
}

const asked = new URLSearchParams({
  client_id: audience, response_type: 'id_token', scope: 'openid', redirect_uri: back, nonce: 'once',
});
let url = `${issuer}/auth?${asked}`;
for (let hop = 0; hop < 10 && !url.startsWith(back); hop += 1) {
  const { code, to, body } = await get(url);
  if (!to) throw new Error(`${url} answered ${code}: ${body}`);
  url = new URL(to, url).href;
}
const token = new URLSearchParams(new URL(url).hash.slice(1)).get('id_token');
if (!token) throw new Error(`no token: ${url}`);
console.log(JSON.stringify({ issuer, token }));
// Ends with who started it.
process.stdin.on('close', () => process.exit(0)).resume();
