// Opens and writes armored age files with npm `age-encryption`.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.Q_ORACLES}/node/`)
const age = await import(pathToFileURL(require.resolve('age-encryption')))
const asked = JSON.parse(readFileSync(0))

const verbs = {
  async identity() {
    const identity = await age.generateX25519Identity()
    return { identity, recipient: await age.identityToRecipient(identity) }
  },
  async open() {
    const decrypter = new age.Decrypter()
    decrypter.addIdentity(asked.identity)
    const plaintext = await decrypter.decrypt(age.armor.decode(asked.text))
    return { plaintext: Buffer.from(plaintext).toString('base64') }
  },
  async seal() {
    const encrypter = new age.Encrypter()
    for (const recipient of asked.recipients) encrypter.addRecipient(recipient)
    const file = await encrypter.encrypt(Buffer.from(asked.plaintext, 'base64'))
    return { text: age.armor.encode(file) }
  },
}
console.log(JSON.stringify(await verbs[process.argv[2]]()))
