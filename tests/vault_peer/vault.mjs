// The formats of the vault with WebCrypto, from the contract alone: nothing in here knows how the server does it.

const { subtle } = globalThis.crypto
const utf8 = new TextEncoder()
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export const base64 = (bytes) => Buffer.from(bytes).toString('base64')
export const base64url = (bytes) => Buffer.from(bytes).toString('base64url')
export const hex = (bytes) => Buffer.from(bytes).toString('hex')

export function unbase64(text) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) throw new Error('not base64')
  return new Uint8Array(Buffer.from(text, 'base64'))
}

// Section 1: the id ends at the first underscore, the secret stays text.
export function tokenParts(token) {
  const found = /^bsk_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{43,})$/.exec(token)
  if (!found) throw new Error('not a token')
  return { id: found[1], secret: found[2] }
}

async function hkdf(secret, salt, info) {
  const material = await subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
  const how = { name: 'HKDF', hash: 'SHA-256', salt, info: utf8.encode(info) }
  return new Uint8Array(await subtle.deriveBits(how, material, 256))
}

export function keyEncryptionKey({ id, secret }) {
  return hkdf(utf8.encode(secret), utf8.encode(id), 'backspace-kek-v1')
}

async function aes(raw) {
  return subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt'])
}

async function encrypt(raw, iv, plaintext, about) {
  const how = { name: 'AES-GCM', iv, additionalData: about, tagLength: 128 }
  return new Uint8Array(await subtle.encrypt(how, await aes(raw), plaintext))
}

async function decrypt(raw, iv, sealed, about) {
  const how = { name: 'AES-GCM', iv, additionalData: about, tagLength: 128 }
  return new Uint8Array(await subtle.decrypt(how, await aes(raw), sealed))
}

// Section 2.
const aboutWrap = (id, keyId) => utf8.encode(`backspace:wrap:v1:${id}:${keyId}`)

export async function wrap(vaultKey, keyId, parts, iv) {
  return encrypt(await keyEncryptionKey(parts), iv, vaultKey, aboutWrap(parts.id, keyId))
}

export async function unwrap(answer, parts) {
  if (answer.kdf !== 'HKDF-SHA256' || answer.info !== 'backspace-kek-v1') throw new Error('another derivation')
  const wrapped = unbase64(answer.wrappedKey)
  if (wrapped.length !== 48) throw new Error('a wrap has 48 bytes')
  const key = await keyEncryptionKey(parts)
  return decrypt(key, unbase64(answer.iv), wrapped, aboutWrap(parts.id, answer.keyId))
}

// Section 4.
export function canonical(messages) {
  const kept = messages.map(({ role, content, timestamp }) => {
    for (const text of [role, content, timestamp ?? '']) if (!text.isWellFormed()) throw new Error('half a character')
    return timestamp == null ? { content, role } : { content, role, timestamp }
  })
  return utf8.encode(JSON.stringify({ messages: kept, v: 1 }))
}

export function about(platform, chatId) {
  const parts = [platform.toLowerCase(), chatId].map((part) => base64url(utf8.encode(part)))
  return utf8.encode(`backspace:v1:${parts.join(':')}`)
}

export const seal = (vaultKey, iv, plaintext, platform, chatId) =>
  encrypt(vaultKey, iv, plaintext, about(platform, chatId))

export const open = (vaultKey, iv, sealed, platform, chatId) => decrypt(vaultKey, iv, sealed, about(platform, chatId))

export const messagesOf = (plaintext) => {
  const content = JSON.parse(strict.decode(plaintext))
  if (content.v !== 1) throw new Error('another version of content')
  return content.messages
}

// Section 5.
export const contentHashKey = (vaultKey) => hkdf(vaultKey, new Uint8Array(), 'backspace-content-hash-v1')

export async function contentHash(vaultKey, plaintext) {
  const how = { name: 'HMAC', hash: 'SHA-256' }
  const key = await subtle.importKey('raw', await contentHashKey(vaultKey), how, false, ['sign'])
  return hex(new Uint8Array(await subtle.sign('HMAC', key, plaintext)))
}
