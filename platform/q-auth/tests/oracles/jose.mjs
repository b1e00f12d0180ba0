// npm `jose` as the other end of our tokens: reads JSON on standard input, prints JSON.
//   verify  {jwks, token, issuer, audience}  -> the claims, as a relying party checks them
//   prove   {url, method, token}             -> {jkt, proof} made by a foreign client with a fresh key
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const jose = await import(pathToFileURL(`${process.env.Q_ORACLES}/node/node_modules/jose/dist/webapi/index.js`));
const [mode] = process.argv.slice(2);
const input = JSON.parse(readFileSync(0, 'utf8'));

if (mode === 'verify') {
  const keys = jose.createLocalJWKSet(input.jwks);
  const { payload, protectedHeader } = await jose.jwtVerify(input.token, keys, {
    issuer: input.issuer, audience: input.audience, typ: 'at+jwt', algorithms: ['EdDSA'],
    requiredClaims: ['jti', 'sub', 'exp', 'iat', 'client_id'], currentDate: new Date(input.now * 1000),
  });
  console.log(JSON.stringify({ payload, protectedHeader }));
} else {
  const { publicKey, privateKey } = await jose.generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const jwk = await jose.exportJWK(publicKey);
  const jkt = await jose.calculateJwkThumbprint(jwk);
  const make = (token) => new jose.SignJWT({
    jti: crypto.randomUUID(), htm: input.method, htu: input.url,
    ath: createHash('sha256').update(token).digest('base64url'),
  }).setProtectedHeader({ alg: 'EdDSA', typ: 'dpop+jwt', jwk }).setIssuedAt(input.now).sign(privateKey);
  console.log(JSON.stringify({ jkt, jwk, proof: await make(input.token) }));
}
