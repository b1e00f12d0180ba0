// Signs the same payments with npm `@stellar/stellar-sdk`, deriving the same key by SLIP-10 with Node's own hashes.
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.Q_ORACLES}/node/`)
const { Account, Asset, Keypair, Memo, Operation, TransactionBuilder } = require('@stellar/stellar-sdk')

const derive = (seed) => {
  let node = createHmac('sha512', 'ed25519 seed').update(seed).digest()
  for (const step of [44, 148, 0]) {
    const index = Buffer.alloc(4)
    index.writeUInt32BE((step | 0x80000000) >>> 0)
    node = createHmac('sha512', node.subarray(32)).update(Buffer.concat([Buffer.alloc(1), node.subarray(0, 32), index])).digest()
  }
  return Keypair.fromRawEd25519Seed(node.subarray(0, 32))
}

// The SDK writes seven decimals and refuses more.
const seven = (text) => {
  const [whole, decimals = ''] = text.split('.')
  if (/[1-9]/.test(decimals.slice(7))) throw new Error(`${text} has an eighth decimal`)
  return `${whole}.${decimals.padEnd(7, '0').slice(0, 7)}`
}

const told = JSON.parse(readFileSync(0)).map((asked) => {
  const key = derive(Buffer.from(asked.seed, 'hex'))
  const account = new Account(key.publicKey(), (BigInt(asked.sequence) - 1n).toString())
  const amount = seven(asked.amount)
  const operation = asked.first
    ? Operation.createAccount({ destination: asked.to, startingBalance: amount })
    : Operation.payment({ destination: asked.to, asset: Asset.native(), amount })
  const builder = new TransactionBuilder(account, { fee: asked.fee, networkPassphrase: asked.passphrase })
  builder.addOperation(operation).setTimebounds(0, asked.until)
  if (asked.memo) builder.addMemo(Memo.text(asked.memo))
  const transaction = builder.build()
  transaction.sign(key)
  return { address: key.publicKey(), hash: Buffer.from(transaction.hash()).toString('hex'), envelope: transaction.toEnvelope().toXDR('base64') }
})
process.stdout.write(JSON.stringify(told))
