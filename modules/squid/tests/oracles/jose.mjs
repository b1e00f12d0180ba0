// npm `jose` checks an access token by the key set a running instance publishes, as any relying party does.
//   node jose.mjs <jwks URL> <token> <issuer> <seconds since the epoch>
import { pathToFileURL } from 'node:url';

const jose = await import(pathToFileURL(`${process.env.Q_ORACLES}/node/node_modules/jose/dist/webapi/index.js`));
const [url, token, issuer, now] = process.argv.slice(2);
const { payload, protectedHeader } = await jose.jwtVerify(token, jose.createRemoteJWKSet(new URL(url)), {
  issuer, audience: issuer, typ: 'at+jwt', algorithms: ['EdDSA'], currentDate: new Date(Number(now) * 1000),
});
console.log(JSON.stringify({ payload, protectedHeader }));
