// Does one job that is told on standard input as JSON, and tells what came of it on standard output.

import { strict as assert } from 'node:assert'
import * as vault from './vault.mjs'

const JOBS = { example, read, write }

async function ask({ url, token }, method, path, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const answer = await fetch(`${url}/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body) })
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const data = await answer.json()
  assert.equal(answer.status, 200, JSON.stringify(data))
  return data
}

async function vaultKey(job, keyId) {
  const answer = await ask(job, 'GET', keyId === undefined ? 'vault/key' : `vault/key?keyId=${keyId}`)
  return { ...answer, key: await vault.unwrap(answer, vault.tokenParts(job.token)) }
}

// Section 8 of the addendum: all that can be computed of it from its inputs.
async function example({ token, vaultKey, keyId, wrapIv, platform, chatId, messages, iv }) {
  const parts = vault.tokenParts(token)
  const raw = new Uint8Array(Buffer.from(vaultKey, 'hex'))
  const plaintext = vault.canonical(messages)
  const wrapped = await vault.wrap(raw, keyId, parts, vault.unbase64(wrapIv))
  const sealed = await vault.seal(raw, vault.unbase64(iv), plaintext, platform, chatId)
  return {
    id: parts.id,
    kek: vault.hex(await vault.keyEncryptionKey(parts)),
    wrappedKey: vault.base64(wrapped),
    about: new TextDecoder().decode(vault.about(platform, chatId)),
    plaintext: vault.base64(plaintext),
    encryptedContent: vault.base64(sealed),
    contentHashKey: vault.hex(await vault.contentHashKey(raw)),
    contentHash: await vault.contentHash(raw, plaintext),
  }
}

// Every entry that a pull gives, opened.
async function read(job) {
  const keys = new Map()
  const found = []
  for (const entry of (await ask(job, 'GET', 'pull?limit=100')).entries) {
    if (!keys.has(entry.keyId)) keys.set(entry.keyId, (await vaultKey(job, entry.keyId)).key)
    const key = keys.get(entry.keyId)
    const iv = vault.unbase64(entry.iv)
    assert.equal(iv.length, 12)
    const sealed = vault.unbase64(entry.encryptedContent)
    const plaintext = await vault.open(key, iv, sealed, entry.platform, entry.chatId)
    assert.equal(sealed.length, plaintext.length + 16)
    const messages = vault.messagesOf(plaintext)
    assert.equal(messages.length, entry.messageCount)
    assert.equal(vault.base64(vault.canonical(messages)), vault.base64(plaintext), 'it is not canonical')
    assert.equal(entry.contentHash, await vault.contentHash(key, plaintext))
    found.push({ chatId: entry.chatId, platform: entry.platform, iv: entry.iv, messages })
  }
  return found
}

// Conversations, sealed under the vault key.
async function write(job) {
  const { key, keyId, platform } = await vaultKey(job)
  const answers = []
  for (const push of job.pushes) {
    const plaintext = vault.canonical(push.messages)
    const iv = crypto.getRandomValues(new Uint8Array(12))
    const sealed = await vault.seal(key, iv, plaintext, push.platform ?? platform, push.chatId)
    const body = {
      chatId: push.chatId,
      encryptedContent: vault.base64(sealed),
      iv: vault.base64(iv),
      messageCount: push.messages.length,
      contentHash: await vault.contentHash(key, plaintext),
      keyId,
    }
    if (push.platform != null) body.platform = push.platform
    answers.push(await ask(job, 'POST', 'push', body))
  }
  return answers
}

const input = []
for await (const chunk of process.stdin) input.push(chunk)
const job = JSON.parse(Buffer.concat(input).toString('utf-8'))
process.stdout.write(JSON.stringify(await JOBS[job.job](job)))
