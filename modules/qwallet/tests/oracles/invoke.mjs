// Asks npm iso-ucan to delegate and to invoke a payment, as a program that knows nothing of ours.
// One JSON request on stdin, one container (ctn-v1, base64url) on stdout.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const load = (path) => import(pathToFileURL(join(process.env.Q_ORACLES, 'node/node_modules', path)).href)

const { Delegation } = await load('iso-ucan/src/delegation.js')
const { Invocation } = await load('iso-ucan/src/invocation.js')
const { Resolver } = await load('iso-signatures/src/verifiers/resolver.js')
const { verifier } = await load('iso-signatures/src/verifiers/eddsa.js')
const { EdDSASigner } = await load('iso-signatures/src/signers/eddsa.js')
const { encode } = await load('@ipld/dag-cbor/src/index.js')

const { owner, agent, at, order, policy } = JSON.parse(readFileSync(0, 'utf8'))
// It judges times by the host's clock, and the bank of the test has one of its own.
Date.now = () => at * 1000
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64url'))
const payer = await EdDSASigner.generate(bytes(owner))
const holder = agent ? await EdDSASigner.generate(bytes(agent)) : payer
const cmd = '/qwallet/wallet/pay'
const prf = agent
  ? [await Delegation.create({ iss: payer, aud: holder.did, sub: payer.did, cmd: '/qwallet', pol: policy, exp: at + 600 })]
  : []
const verifierResolver = new Resolver({ ...verifier })
const invocation = await Invocation.create({
  iss: holder, aud: order.aud, sub: payer.did, cmd, args: order, prf, exp: at + 300, verifierResolver,
})
const tokens = [invocation.bytes, ...prf.map((one) => one.bytes)].map((token) => Buffer.from(token))
const container = encode({ 'ctn-v1': tokens.sort(Buffer.compare).map((token) => new Uint8Array(token)) })
process.stdout.write('C' + Buffer.from(container).toString('base64url'))
