// Payment signatures by npm `jose`: checks one of ours as any reader of JWS does, and signs the same order itself.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.Q_ORACLES}/node/`)
const jose = await import(pathToFileURL(require.resolve('jose')))
const { signature, kid, jwk, seed, typ, input } = JSON.parse(readFileSync(0))
const utf8 = new TextEncoder()

const { payload, protectedHeader } = await jose.compactVerify(signature, await jose.importJWK(jwk, 'EdDSA'), {
  algorithms: ['EdDSA'],
})
const isOurs = new TextDecoder().decode(payload) === input && protectedHeader.typ === typ && protectedHeader.kid === kid
const key = await jose.importJWK({ ...jwk, d: seed }, 'EdDSA')
const sign = (header) => new jose.CompactSign(utf8.encode(input)).setProtectedHeader(header).sign(key)
console.log(
  JSON.stringify({
    isOurs,
    theirs: await sign({ alg: 'EdDSA', typ, kid }),
    // Each of these is a sound signature by the right key, and no payment.
    refused: [await sign({ alg: 'EdDSA', typ: 'JWT', kid }), await sign({ alg: 'EdDSA', typ, kid: `${kid}x` })],
  }),
)
