/**
 * Decodes one KV-event batch: msgpack bytes from a node in, plain events out.
 *
 *     batch  [ts, [event, ...], rank]                  or {ts, events, data_parallel_rank}
 *     event  ["BlockStored", hashes, parent, ...]      positional, vLLM up to 0.23
 *            {"type": "BlockStored", "block_hashes": ...}   by name, since 0.24 (any header width)
 *
 * Every event is read by its own form: the version of a node is neither configured nor guessed.
 * Missing trailing fields are absent, fields of later versions are ignored. A damaged or unknown
 * event costs itself alone and is counted; only bytes that are no msgpack batch cost a batch. What
 * is read here is all that the rooms behind need to know: they meet no value of another kind.
 *
 * Hashes are 64 bits, exact, never a JS number: u64 as is, negative int64 as two's complement, byte
 * strings (sha256, xxhash digests) by their last 8 bytes, big-endian, which is what vLLM's own
 * integer form is. msgpackr gives integers below 2^32 as numbers, larger ones as bigints.
 *
 * What the events mean for one (node, rank) is the business of `interpreter.ts`; this file keeps no
 * state. Cost: about 1.5 µs for a batch of 8 blocks. A bigint per hash is its price.
 */
import { addExtension, Unpackr } from 'msgpackr'

/**
 * Blocks, or tokens, of one event: one of a full prefill is far below it. With extras, as many must
 * fit an empty batch of the index (`OP_WORDS_MAX` there).
 */
export const EVENT_ITEMS_MAX = 2 ** 22
/** Lists within lists in an extra key: vLLM nests one; a key without an end names no block. */
const EXTRA_KEY_DEPTH_MAX = 4

/** Where a block lies; a node that never says (before 0.10.2) means its GPU. */
export type Medium = 'gpu' | 'other'

/** What else a block was hashed with: a text, a number, a digest, nothing, or a list of these. */
export type ExtraKey =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Uint8Array
  | readonly ExtraKey[]

export interface StoredEvent {
  readonly kind: 'stored'
  readonly hashes: BigUint64Array
  /** null at the start of a chain. */
  readonly parent: bigint | null
  readonly tokens: Uint32Array
  /** Tokens a block; 0 on placeholders. */
  readonly blockSize: number
  readonly medium: Medium
  readonly isRemote: boolean
  /** Adapter, or "". */
  readonly loraName: string
  /** One entry a hash, as it came; null when the node sends none. */
  readonly extraKeys: readonly ExtraKey[] | null
  readonly group: number | null
  readonly specKind: string | null
  /** The hashes also cover tokens after their blocks (a drafter's look-ahead). */
  readonly hasLookahead: boolean
}

export interface RemovedEvent {
  readonly kind: 'removed'
  readonly hashes: BigUint64Array
  readonly medium: Medium
  readonly isRemote: boolean
  readonly group: number | null
}

export interface ClearedEvent {
  readonly kind: 'cleared'
}

export type KvEvent = StoredEvent | RemovedEvent | ClearedEvent

export interface EventBatch {
  /** The engine's wall clock in seconds: with the sequence number the identity of a batch. */
  readonly ts: number
  readonly events: readonly KvEvent[]
  /** Events with a known tag whose fields do not fit. */
  readonly malformed: number
  /** Events whose tag is not known. */
  readonly unknown: number
}

type Fields = Readonly<Record<string, unknown>>

// Positions of the fields after the tag, E1 to E7: each version only appended.
const STORED_FIELDS = [
  'block_hashes',
  'parent_block_hash',
  'token_ids',
  'block_size',
  'lora_id',
  'medium',
  'lora_name',
  'extra_keys',
  'group_idx',
  'kv_cache_spec_kind',
] as const
const REMOVED_FIELDS = ['block_hashes', 'medium', 'group_idx'] as const

/** Stands for a value of an extension type: it is no hash, no token, no text, and no tag. */
const EXTENSION = Object.freeze({})

// No engine sends extension types so far. In a field of a later version one is skipped as the
// field is; the decoder's own (references, errors, expressions) have no business on this wire. This
// is the registry of the whole thread, on which nothing else is decoded.
for (let type = 0; type < 256; type++) addExtension({ type, unpack: () => EXTENSION })

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'bigint' })

/** null when the bytes are no batch at all. */
export function decodeBatch(payload: Uint8Array): EventBatch | null {
  let raw: unknown
  try {
    raw = unpackr.unpack(payload)
  } catch {
    return null
  }
  const [ts, items] = Array.isArray(raw) ? fieldsOfArray(raw) : fieldsOfMap(raw)
  if (typeof ts !== 'number' || !Array.isArray(items)) return null
  const events: KvEvent[] = []
  let malformed = 0
  let unknown = 0
  for (const item of items) {
    const event = decodeEvent(item)
    if (event === 'malformed') malformed++
    else if (event === 'unknown') unknown++
    else events.push(event)
  }
  return { ts, events, malformed, unknown }
}

/** The batch's time stamp without decoding its events; NaN when it has none. */
export function peekTs(payload: Uint8Array): number {
  // fixarray, then float64: what every msgspec publisher writes.
  if (payload.length >= 10 && ((payload[0] ?? 0) & 0xf0) === 0x90 && payload[1] === 0xcb) {
    return new DataView(payload.buffer, payload.byteOffset, payload.length).getFloat64(2)
  }
  return decodeBatch(payload)?.ts ?? Number.NaN
}

function fieldsOfArray(raw: readonly unknown[]): [unknown, unknown] {
  return [raw[0], raw[1]]
}

function fieldsOfMap(raw: unknown): [unknown, unknown] {
  return isFields(raw) ? [raw['ts'], raw['events']] : [undefined, undefined]
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)
}

function decodeEvent(item: unknown): KvEvent | 'malformed' | 'unknown' {
  if (!isFields(item)) return 'malformed'
  const tag: unknown = Array.isArray(item) ? item[0] : item['type']
  if (typeof tag !== 'string') return 'malformed'
  switch (tag) {
    case 'BlockStored':
      return stored(Array.isArray(item) ? named(item, STORED_FIELDS) : item) ?? 'malformed'
    case 'BlockRemoved':
      return removed(Array.isArray(item) ? named(item, REMOVED_FIELDS) : item) ?? 'malformed'
    case 'AllBlocksCleared':
      return { kind: 'cleared' }
    default:
      return 'unknown'
  }
}

function named(item: readonly unknown[], names: readonly string[]): Fields {
  const fields: Record<string, unknown> = {}
  for (const [index, name] of names.entries()) fields[name] = item[index + 1]
  return fields
}

function stored(fields: Fields): StoredEvent | null {
  const hashes = hashArray(fields['block_hashes'])
  const tokens = tokenArray(fields['token_ids'])
  const parent = fields['parent_block_hash'] ?? null
  const parentHash = parent === null ? null : hashOf(parent)
  const blockSize = fields['block_size'] ?? 0
  if (hashes === null || tokens === null || parentHash === undefined) return null
  if (typeof blockSize !== 'number' || !Number.isInteger(blockSize) || blockSize < 0) return null
  const extraKeys = fields['extra_keys'] ?? null
  if (extraKeys !== null && !isExtraKeys(extraKeys)) return null
  return {
    kind: 'stored',
    hashes,
    parent: parentHash,
    tokens,
    blockSize,
    medium: mediumOf(fields['medium']),
    isRemote: fields['locality'] === 'REMOTE',
    loraName: textOf(fields['lora_name']) ?? '',
    extraKeys,
    group: groupOf(fields['group_idx']),
    specKind: textOf(fields['kv_cache_spec_kind']),
    hasLookahead: Array.isArray(fields['lookahead_token_ids']),
  }
}

function removed(fields: Fields): RemovedEvent | null {
  const hashes = hashArray(fields['block_hashes'])
  if (hashes === null) return null
  return {
    kind: 'removed',
    hashes,
    medium: mediumOf(fields['medium']),
    isRemote: fields['locality'] === 'REMOTE',
    group: groupOf(fields['group_idx']),
  }
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function groupOf(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

/** Connectors write "cpu" in lower case where the engine writes "CPU". */
function mediumOf(value: unknown): Medium {
  if (value === null || value === undefined) return 'gpu'
  return typeof value === 'string' && value.toUpperCase() === 'GPU' ? 'gpu' : 'other'
}

function isExtraKeys(value: unknown): value is readonly ExtraKey[] {
  return Array.isArray(value) && value.every(entry => isExtraKey(entry, 0))
}

function isExtraKey(value: unknown, depth: number): value is ExtraKey {
  if (Array.isArray(value)) {
    return depth < EXTRA_KEY_DEPTH_MAX && value.every(key => isExtraKey(key, depth + 1))
  }
  return typeof value !== 'object' || value === null || value instanceof Uint8Array
}

/** undefined when the value is no hash. */
function hashOf(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return BigInt.asUintN(64, value)
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) ? BigInt.asUintN(64, BigInt(value)) : undefined
  }
  if (!(value instanceof Uint8Array) || value.length < 8) return undefined
  return new DataView(value.buffer, value.byteOffset, value.length).getBigUint64(value.length - 8)
}

function hashArray(value: unknown): BigUint64Array | null {
  if (!Array.isArray(value) || value.length > EVENT_ITEMS_MAX) return null
  const hashes = new BigUint64Array(value.length)
  for (let index = 0; index < value.length; index++) {
    const hash = hashOf(value[index])
    if (hash === undefined) return null
    hashes[index] = hash
  }
  return hashes
}

/** nil stands for no tokens (a store connector sends it); pairs of a drafter are refused. */
function tokenArray(value: unknown): Uint32Array | null {
  if (value === null || value === undefined) return new Uint32Array(0)
  if (!Array.isArray(value) || value.length > EVENT_ITEMS_MAX) return null
  const tokens = new Uint32Array(value.length)
  for (let index = 0; index < value.length; index++) {
    const token: unknown = value[index]
    if (typeof token !== 'number' || token >>> 0 !== token) return null
    tokens[index] = token
  }
  return tokens
}
