// The npm package didwebvh-ts resolves an identity of a running instance over HTTP.
//   node resolve.mjs <did> <origin in the did> <where it really listens>
// The test's server listens on a free port of the loopback address; a resolver elsewhere would have the name
// in its DNS and a proxy in front. Only the address is mapped, the request and the log are real.
import { createPublicKey, verify as verifyBytes } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.Q_ORACLES}/node/`);
const { resolveDID } = require('didwebvh-ts');
const [did, origin, actual] = process.argv.slice(2);
const realFetch = globalThis.fetch;
const asked = [];
globalThis.fetch = (url, options) => {
  asked.push(String(url));
  const { host, pathname, search } = new URL(url);
  if (host !== origin) throw new Error(`unexpected host ${host}`);
  return realFetch(`${actual}${pathname}${search}`, options);
};
const verifier = {
  async verify(signature, message, publicKey) {
    const prefix = Buffer.from('302a300506032b6570032100', 'hex');
    const key = createPublicKey({ key: Buffer.concat([prefix, Buffer.from(publicKey)]), format: 'der', type: 'spki' });
    return verifyBytes(null, message, key, signature);
  },
};
const { did: name, doc, meta } = await resolveDID(did, { verifier });
console.log(JSON.stringify({ did: name, doc, versionId: meta.versionId, error: meta.error, asked }));
