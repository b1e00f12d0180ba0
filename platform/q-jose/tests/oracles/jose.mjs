// Reads our JOSE texts with npm `jose`, and writes texts for us to read. The twin of jose.py.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.Q_ORACLES}/node/`)
const jose = await import(pathToFileURL(require.resolve('jose')))
const asked = JSON.parse(readFileSync(0))
const bytes = new Uint8Array([0, 255, ...new TextEncoder().encode('pay 12.50 to Ada, é')])
const b64 = (data) => Buffer.from(data).toString('base64url')

const verbs = {
  async read_jws() {
    const key = await jose.importJWK(asked.jwk, 'EdDSA')
    const { payload, protectedHeader } = await jose.compactVerify(asked.text, key, { algorithms: ['EdDSA'] })
    return { header: protectedHeader, payload: b64(payload), thumbprint: await jose.calculateJwkThumbprint(asked.jwk) }
  },
  async write_jws() {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: asked.public }
    const key = await jose.importJWK({ ...jwk, d: asked.seed }, 'EdDSA')
    const header = { alg: 'EdDSA', typ: 'at+jwt', kid: 'k1', jwk }
    return { text: await new jose.CompactSign(bytes).setProtectedHeader(header).sign(key), payload: b64(bytes) }
  },
  async read_jwe() {
    const key = Buffer.from(asked.key, 'base64url')
    const only = { keyManagementAlgorithms: ['A256KW'], contentEncryptionAlgorithms: ['A256GCM'] }
    const { plaintext, protectedHeader } = await jose.compactDecrypt(asked.text, key, only)
    return { header: protectedHeader, payload: b64(plaintext) }
  },
  async write_jwe() {
    const header = { alg: 'A256KW', enc: 'A256GCM', kid: 'k1', ctx: 'c' }
    const key = Buffer.from(asked.key, 'base64url')
    return { text: await new jose.CompactEncrypt(bytes).setProtectedHeader(header).encrypt(key), payload: b64(bytes) }
  },
}
console.log(JSON.stringify(await verbs[process.argv[2]]()))
