// viem (JavaScript) as a peer: what its verifySiweMessage does, without the node that it wants for contract wallets,
// and the comparisons that it leaves out. Talks as rounds.py does.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { verifyMessage } from 'viem'
import { parseSiweMessage, validateSiweMessage } from 'viem/siwe'

const { genuine, forged } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const least = Number(process.argv[3])
const moments = new Map([...genuine, ...forged].map(({ at }) => [at, new Date(at)]))

function parse({ message }) {
  const { address, nonce, issuedAt } = parseSiweMessage(message)
  return Boolean(address && nonce && issuedAt)
}

async function verify({ message: text, signature, owner: address, domain, uri, nonce, chain_id, at }) {
  const message = parseSiweMessage(text)
  if (!validateSiweMessage({ address, domain, message, nonce, time: moments.get(at) })) return false
  if (message.uri !== uri || message.chainId !== chain_id) return false
  return verifyMessage({ address, message: text, signature })
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)

async function count(cases) {
  let yes = 0
  for (const one of cases) yes += await verify(one)
  return yes
}

say({ genuine: await count(genuine), forged: await count(forged) })
let next = 0
for await (const line of createInterface({ input: process.stdin })) {
  const task = { parse, verify }[line.trim()]
  let [done, yes, seconds] = [0, 0, 0]
  const started = performance.now()
  while ((seconds = (performance.now() - started) / 1000) < least) {
    yes += await task(genuine[next])
    next = (next + 1) % genuine.length
    done += 1
  }
  say({ done, yes, seconds })
}
