// Checks a receipt as a stranger would: npm `jose` for the signatures, Node's SHA-256 for the rest, and of ours nothing
// but the receipt and a public key.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.Q_ORACLES}/node/`)
const jose = await import(pathToFileURL(require.resolve('jose')))
const asked = JSON.parse(readFileSync(0))
const utf8 = new TextEncoder()

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest()
const hex = (text) => Buffer.from(text, 'hex')
const wide = (number, bytes) => {
  const out = Buffer.alloc(bytes)
  let rest = BigInt.asUintN(bytes * 8, BigInt(number))
  for (let at = bytes - 1; at >= 0; at--, rest >>= 8n) out[at] = Number(rest & 255n)
  return out
}
const i64 = (number) => wide(number, 8)
const balance = (text) =>
  text.startsWith('-')
    ? Buffer.concat([Buffer.from([0]), wide(~BigInt(text.slice(1)), 16)])
    : Buffer.concat([Buffer.from([1]), wide(text, 16)])
const id = (text) => hex(text.slice(text.indexOf('_') + 1))
const fail = (what) => {
  throw new Error(what)
}

async function open(text, typ) {
  const key = await jose.importJWK(asked.jwk, 'EdDSA')
  const { payload, protectedHeader } = await jose.compactVerify(text, key, { algorithms: ['EdDSA'] })
  if (protectedHeader.typ !== typ) fail(`typ ${protectedHeader.typ}`)
  if (protectedHeader.kid !== asked.kid) fail(`kid ${protectedHeader.kid}`)
  return JSON.parse(new TextDecoder().decode(payload))
}

// RFC 9162 section 2.1.3.2.
function isIncluded(leaf, index, size, path, root) {
  let [from, last, hash] = [index, size - 1, leaf]
  for (const sibling of path.map(hex)) {
    if (last === 0) return false
    if (from % 2 === 1 || from === last) {
      hash = sha256([1], sibling, hash)
      while (from % 2 === 0 && from !== 0) [from, last] = [from / 2, Math.floor(last / 2)]
    } else {
      hash = sha256([1], hash, sibling)
    }
    ;[from, last] = [Math.floor(from / 2), Math.floor(last / 2)]
  }
  return last === 0 && hash.equals(hex(root))
}

const receipt = await open(asked.jws, 'q-receipt+jws')
const transaction = receipt.transaction
const sized = (bytes) => (bytes === undefined ? [i64(0)] : [i64(bytes.length + 1), bytes])
const transactionLeaf = sha256(
  utf8.encode('\0q-transaction/1'),
  id(receipt.transactionId),
  i64(transaction.kind),
  i64(transaction.firstSeq),
  i64(transaction.transferCount),
  hex(transaction.orderDigest),
  transaction.intent ? hex(transaction.intent) : Buffer.alloc(16),
  ...sized(transaction.clientRef === undefined ? undefined : utf8.encode(transaction.clientRef)),
  ...sized(transaction.purpose === undefined ? undefined : Buffer.from(transaction.purpose, 'base64url')),
)
const transferLeaf = (transfer) =>
  sha256(
    utf8.encode('\0q-transfer/1'),
    i64(transfer.seq),
    id(receipt.transactionId),
    i64(transfer.debit),
    i64(transfer.credit),
    wide(transfer.units, 16),
    i64(transfer.purpose),
    i64(transfer.phase),
    i64(transfer.pendingOf ?? 0),
    i64(transfer.debitVersion),
    balance(transfer.debitBalance),
    i64(transfer.creditVersion),
    balance(transfer.creditBalance),
  )

let [transfers, hasTransaction, heads] = [0, false, 0]
for (const commit of receipt.commits) {
  for (const leaf of commit.leaves) {
    const hash = leaf.transfer ? transferLeaf(leaf.transfer) : transactionLeaf
    const size = commit.transferCount + commit.transactionCount
    if (!isIncluded(hash, leaf.index, size, leaf.path, commit.root)) fail(`leaf ${leaf.index} of ${commit.number}`)
    if (leaf.transfer) transfers++
    else hasTransaction = true
  }
  const head = sha256(
    utf8.encode('q-ledger-head/1'),
    hex(commit.before),
    hex(commit.root),
    ...[commit.writer, commit.number, commit.firstSeq, commit.transferCount, commit.transactionCount, commit.atMicros].map(i64),
  )
  if (!head.equals(hex(commit.head))) fail(`head ${commit.number}`)
  if (commit.anchor) {
    const signed = await open(commit.anchor.jws, 'q-ledger-head+jws')
    const [index, size] = [commit.number - signed.after - 1, signed.number - signed.after]
    const leaf = sha256([0], head)
    if (signed.writer !== commit.writer || !isIncluded(leaf, index, size, commit.anchor.path, signed.headsRoot)) {
      fail(`anchor of ${commit.number}`)
    }
    heads++
  }
}
if (!hasTransaction) fail('no leaf of the transaction')
if (receipt.order) {
  const { kind, signer, input, signatures } = receipt.order
  const [who, what] = [utf8.encode(signer), utf8.encode(input)]
  const digest = sha256(utf8.encode('q-order/1'), i64(kind), i64(who.length), who, i64(what.length), what, utf8.encode(signatures))
  if (!digest.equals(hex(transaction.orderDigest))) fail('order')
}
console.log(JSON.stringify({ transfers, heads, order: receipt.order !== undefined, status: receipt.status }))
