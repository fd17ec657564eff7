/**
 * The engine's own block hashes, as a vLLM node with `--prefix-caching-hash-algo sha256_cbor`
 * computes them, so that simulated nodes agree with each other and with real ones.
 *
 *   NONE_HASH = sha256(cbor(seed))
 *   H(i)      = sha256(cbor([H(i-1), tokens(i), extra keys or null]))   H(-1) = NONE_HASH
 *
 * Example, seed "0", block size 16, tokens 100 … 131: the CBOR of block 0 is `83 5820 <32 bytes>
 * 90 1864 … f6`, and the low 64 bits of the two digests are 8468860364822751900 and
 * 5659426989048894505; the tests hold these golden values.
 *
 * Extra keys are tagged by their source ("cache_salt", "lora") since 0.31, bare before. With a
 * draft model (0.33) a block also covers the tokens after it. How the engine mixes those is not
 * public: here they are one more element of the list, enough to make such hashes differ.
 *
 * Costs: about 3 µs a block of 16 tokens. A path never goes over the wire, hence an adapter's
 * path is made up here; real adapter hashes cannot be reproduced.
 */
import { createHash, randomBytes } from 'node:crypto'

export const DIGEST_BYTES = 32
/** The fixed seed of vLLM ≥ 0.29 when PYTHONHASHSEED is not set. */
export const DEFAULT_SEED = 'vllm-none-hash'
/** Bytes of a CBOR unsigned integer at most (one head byte and eight). */
const CBOR_INTEGER_BYTES_MAX = 9

/** What makes a block differ from one with equal tokens: adapter and salt of its request. */
export interface ExtraKeys {
  readonly adapter: string | null
  /** Only the first block of a chain carries the salt. */
  readonly salt: string | null
}

function sha256(data: Uint8Array): Buffer {
  return createHash('sha256').update(data).digest()
}

/** Writes a CBOR head (major type and argument) and returns the position behind it. */
function writeHead(out: Buffer, at: number, major: number, value: number): number {
  const type = major << 5
  if (value < 24) return out.writeUInt8(type | value, at)
  if (value < 0x100) return out.writeUInt8(value, out.writeUInt8(type | 24, at))
  if (value < 0x10000) return out.writeUInt16BE(value, out.writeUInt8(type | 25, at))
  return out.writeUInt32BE(value, out.writeUInt8(type | 26, at))
}

function writeText(out: Buffer, at: number, text: string): number {
  const next = writeHead(out, at, 3, Buffer.byteLength(text))
  return next + out.write(text, next, 'utf8')
}

function textBytes(text: string): number {
  return Buffer.byteLength(text) + CBOR_INTEGER_BYTES_MAX
}

/** NONE_HASH: of a seed text, or 32 random bytes as engines up to 0.26 without PYTHONHASHSEED. */
export function noneHash(seed: string | null): Buffer {
  if (seed === null) return randomBytes(DIGEST_BYTES)
  const out = Buffer.alloc(textBytes(seed))
  return sha256(out.subarray(0, writeText(out, 0, seed)))
}

/** Digest of one block; `areTagged` says whether extra keys carry their source (≥ 0.31). */
export function blockHash(
  parent: Buffer,
  tokens: Uint32Array,
  extra: ExtraKeys,
  areTagged: boolean,
  lookahead: Uint32Array | null = null,
): Buffer {
  const { adapter, salt } = extra
  const texts =
    (adapter === null ? 0 : 3 * textBytes(adapter)) + (salt === null ? 0 : textBytes(salt))
  const integers = tokens.length + (lookahead?.length ?? 0) + 16
  const out = Buffer.allocUnsafe(DIGEST_BYTES + integers * CBOR_INTEGER_BYTES_MAX + texts + 64)
  let at = writeHead(out, 0, 4, lookahead === null ? 3 : 4)
  at = writeHead(out, at, 2, parent.length)
  at += parent.copy(out, at)
  at = writeIntegers(out, at, tokens)
  at = writeExtraKeys(out, at, extra, areTagged)
  if (lookahead !== null) at = writeIntegers(out, at, lookahead)
  return sha256(out.subarray(0, at))
}

function writeIntegers(out: Buffer, start: number, values: Uint32Array): number {
  let at = writeHead(out, start, 4, values.length)
  for (const value of values) at = writeHead(out, at, 0, value)
  return at
}

function writeExtraKeys(out: Buffer, start: number, extra: ExtraKeys, areTagged: boolean): number {
  const { adapter, salt } = extra
  if (adapter === null && salt === null) return out.writeUInt8(0xf6, start)
  let at = writeHead(out, start, 4, (adapter === null ? 0 : 1) + (salt === null ? 0 : 1))
  if (adapter !== null) {
    if (areTagged) at = writeText(out, writeHead(out, at, 4, 3), 'lora')
    at = writeText(out, at, adapter)
    if (areTagged) at = writeText(out, at, `/adapters/${adapter}`)
  }
  if (salt !== null) {
    if (areTagged) at = writeText(out, writeHead(out, at, 4, 2), 'cache_salt')
    at = writeText(out, at, salt)
  }
  return at
}

/** The integer form of a digest on the wire: its last eight bytes, big-endian. */
export function digestInteger(digest: Buffer): bigint {
  return digest.readBigUInt64BE(digest.length - 8)
}
