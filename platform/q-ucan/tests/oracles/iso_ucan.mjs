// Asks npm iso-ucan to verify our tokens, to make tokens for us, and to judge policies.
// One JSON request on stdin, one JSON answer on stdout.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const load = (path) => import(pathToFileURL(join(process.env.Q_ORACLES, 'node/node_modules', path)).href)

const { Delegation } = await load('iso-ucan/src/delegation.js')
const { Invocation } = await load('iso-ucan/src/invocation.js')
const policy = await load('iso-ucan/src/policy.js')
const { Resolver } = await load('iso-signatures/src/verifiers/resolver.js')
const eddsaVerifier = await load('iso-signatures/src/verifiers/eddsa.js')
const ecdsaVerifier = await load('iso-signatures/src/verifiers/ecdsa.js')
const { EdDSASigner } = await load('iso-signatures/src/signers/eddsa.js')
const { ECDSASigner } = await load('iso-signatures/src/signers/ecdsa.js')
const { ES256KSigner } = await load('iso-signatures/src/signers/es256k.js')

const verifierResolver = new Resolver({
  ...eddsaVerifier.verifier,
  ...ecdsaVerifier.verifier,
})
const base64 = (bytes) => Buffer.from(bytes).toString('base64')
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))

async function verify({ invocation, proofs }) {
  const delegations = new Map()
  for (const proof of proofs) {
    const delegation = await Delegation.from({ bytes: bytes(proof), verifierResolver })
    delegations.set(delegation.cid.toString(), delegation)
  }
  await Invocation.from({
    bytes: bytes(invocation),
    verifierResolver,
    resolveProof: async (cid) => delegations.get(cid.toString()),
  })
}

// WebCrypto gives either of the two values of S; we accept the smaller one only, so sign until the wanted one comes.
function withS(signer, isLow) {
  const sign = signer.sign.bind(signer)
  const half = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n
  signer.sign = async (message) => {
    for (;;) {
      const signature = await sign(message)
      if (BigInt('0x' + Buffer.from(signature.slice(32)).toString('hex')) <= half === isLow) return signature
    }
  }
  return signer
}

async function signer(alg, seed) {
  if (alg.startsWith('ES256-high')) return withS(await ECDSASigner.generate('P-256'), false)
  if (alg === 'ES256') return withS(await ECDSASigner.generate('P-256'), true)
  if (alg === 'ES256K') return ES256KSigner.generate()
  return EdDSASigner.generate(bytes(seed))
}

async function make({ seeds, commands, policy, args, alg }) {
  const people = []
  for (const seed of seeds) people.push(await signer(alg, seed))
  const proofs = []
  for (const [at, cmd] of commands.entries()) {
    proofs.push(
      await Delegation.create({
        iss: people[at],
        aud: people[at + 1].did,
        sub: people[0].did,
        cmd,
        pol: at === 0 ? policy : [],
        exp: null,
      })
    )
  }
  const invocation = await Invocation.create({
    iss: people[commands.length],
    sub: people[0].did,
    cmd: commands.at(-1),
    args,
    prf: proofs,
    exp: null,
    verifierResolver,
  })
  return {
    invocation: base64(invocation.bytes),
    proofs: proofs.map((proof) => ({ cid: proof.cid.toString(), bytes: base64(proof.bytes) })),
  }
}

async function answer(request) {
  if (request.verify) {
    return verify(request.verify).then(
      () => ({ verdict: 'ok' }),
      (error) => ({ verdict: String(error.message ?? error) })
    )
  }
  if (request.make) return make(request.make)
  if (request.verifyMany) {
    const verdicts = []
    for (const one of request.verifyMany) verdicts.push((await answer({ verify: one })).verdict)
    return { verdicts }
  }
  const { args, statements } = request.policies
  return { verdicts: args.map((value) => statements.map((statement) => policy.validate(value, [statement]))) }
}

console.log(JSON.stringify(await answer(JSON.parse(readFileSync(0, 'utf8')))))
