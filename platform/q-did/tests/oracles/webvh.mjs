// The npm package didwebvh-ts as a second reader and writer of logs.
//   node webvh.mjs resolve <did.jsonl>         prints {did, versionId, updateKeys, deactivated, doc}
//   node webvh.mjs write <did.jsonl>           writes a log: create, rotate, move to another host
//   node webvh.mjs write-deactivated <…>       the same, then pre-rotation off and deactivation
import { createHash, generateKeyPairSync, sign as signBytes, createPublicKey, verify as verifyBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.Q_ORACLES}/node/`);
const webvh = require('didwebvh-ts');
const [mode, file] = process.argv.slice(2);

const multibase = (bytes) => webvh.multibaseEncode(bytes, webvh.MultibaseEncoding?.BASE58_BTC ?? 'z');
const rawPublic = (key) => key.export({ type: 'spki', format: 'der' }).subarray(-32);
const verifier = {
  async verify(signature, message, publicKey) {
    const prefix = Buffer.from('302a300506032b6570032100', 'hex');
    const key = createPublicKey({ key: Buffer.concat([prefix, Buffer.from(publicKey)]), format: 'der', type: 'spki' });
    return verifyBytes(null, message, key, signature);
  },
};

function newKey() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const multikey = multibase(Buffer.concat([Buffer.from([0xed, 0x01]), rawPublic(publicKey)]));
  return {
    multikey,
    signer: {
      getVerificationMethodId: () => `did:key:${multikey}#${multikey}`,
      async sign({ document, proof }) {
        const message = await webvh.prepareDataForSigning(document, proof);
        return { proofValue: multibase(signBytes(null, message, privateKey)) };
      },
    },
  };
}

async function write(deactivate) {
  const [k1, k2, k3, k4, k5] = [newKey(), newKey(), newKey(), newKey(), newKey()];
  const commit = (key) => webvh.deriveNextKeyHash(key.multikey);
  const id = 'did:webvh:{SCID}:qnode.localhost%3A8080:id:{SCID}';
  const method = (did, key) => ({ id: `${did}#${key.multikey}`, type: 'Multikey', controller: did, publicKeyMultibase: key.multikey });
  let made = await webvh.createDID({
    address: 'qnode.localhost:8080',
    paths: ['id', '{SCID}'],
    signer: k1.signer,
    updateKeys: [k1.multikey],
    nextKeyHashes: [await commit(k2), await commit(k5)],
    portable: true,
    created: '2026-01-01T00:00:00Z',
    verifier,
    didDocument: {
      '@context': ['https://www.w3.org/ns/did/v1'],
      id,
      controller: id,
      alsoKnownAs: ['did:squid:{SCID}'],
      verificationMethod: [method(id, k1)],
      authentication: [`${id}#${k1.multikey}`],
    },
  });
  const scid = made.meta.scid;
  made = await webvh.updateDID({
    log: made.log, signer: k2.signer, updateKeys: [k2.multikey],
    nextKeyHashes: [await commit(k3), await commit(k5)], updated: '2026-02-01T00:00:00Z', verifier,
  });
  made = await webvh.updateDID({
    log: made.log, signer: k3.signer, updateKeys: [k3.multikey],
    nextKeyHashes: deactivate ? [] : [await commit(k4), await commit(k5)],
    updated: '2026-03-01T00:00:00Z', verifier, address: 'node.example', paths: ['id', scid],
  });
  if (deactivate) {
    made = await webvh.deactivateDID({ log: made.log, signer: k3.signer, verifier });
  }
  writeFileSync(file, made.log.map((entry) => JSON.stringify(entry)).join('\n') + '\n');
  return made;
}

const show = ({ did, doc, meta }) =>
  console.log(JSON.stringify({ did, doc, versionId: meta.versionId, updateKeys: meta.updateKeys, deactivated: meta.deactivated }));

if (mode === 'resolve') {
  const log = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  show(await webvh.resolveDIDFromLog(log, { verifier }));
} else {
  show(await write(mode === 'write-deactivated'));
}
