/**
 * KV events as bytes: the msgpack that vLLM's msgspec structs make, in the forms of three eras.
 *
 *   batch  [ts: float64, [event …], rank]                        an array in every era
 *   E7     ["BlockStored", hashes, parent, tokens, size, …]      positional, trailing nils written
 *   E10    {"type": "BlockStored", "block_hashes": …}            map; fields that are nil and have
 *                                                                the default nil are left out
 *   E11    as E10, the store with a 16-bit map header (`de 00 0b`) whatever its size, because the
 *          struct has more than 15 fields, and with `lookahead_token_ids`
 *
 * A hash is a u64 (the digest's last eight bytes, big-endian) or the 32 bytes themselves.
 *
 * Written by hand and not with msgpackr: header widths and the integer forms are part of what is
 * simulated. Costs: one growing buffer a publisher, one copy a batch.
 */

import { digestInteger } from './block_hash.ts'
import type { KvEvent, StoredEvent } from './kv_cache.ts'

export type Era = 'E7' | 'E10' | 'E11'
export type HashForm = 'int' | 'bytes'

/** A stored event as other tiers and versions also send it. */
export interface WireStored extends Omit<StoredEvent, 'hashes' | 'parent' | 'extraKeys'> {
  readonly hashes: readonly (Buffer | bigint)[]
  readonly parent: Buffer | bigint | null
  readonly extraKeys: readonly (readonly ExtraKey[] | null)[] | null
  readonly medium?: string
  readonly locality?: string
  readonly ownership?: string
  /** Kind of the cache group; connector events have none. */
  readonly specKind?: string | null
}

/** A LoRA name, a salt, or the (identifier, offset) pair of a multimodal item. */
export type ExtraKey = string | readonly [string, number]

export type WireEvent =
  | WireStored
  | {
      readonly kind: 'removed'
      readonly hash: Buffer | bigint
      readonly medium?: string
      readonly locality?: string
      readonly ownership?: string
    }
  | { readonly kind: 'cleared' }

const BUFFER_BYTES = 4096

class MsgpackWriter {
  private buffer: Buffer
  private at: number

  constructor() {
    this.buffer = Buffer.allocUnsafe(BUFFER_BYTES)
    this.at = 0
  }

  take(): Buffer {
    const bytes = Buffer.from(this.buffer.subarray(0, this.at))
    this.at = 0
    return bytes
  }

  private reserve(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.at + bytes))
    this.buffer.copy(grown, 0, 0, this.at)
    this.buffer = grown
  }

  private byte(value: number): void {
    this.reserve(1)
    this.buffer[this.at++] = value
  }

  nil(): void {
    this.byte(0xc0)
  }

  float(value: number): void {
    this.reserve(9)
    this.buffer[this.at] = 0xcb
    this.buffer.writeDoubleBE(value, this.at + 1)
    this.at += 9
  }

  integer(value: number): void {
    this.reserve(9)
    const { buffer } = this
    if (value < 0) {
      if (value >= -32) buffer[this.at++] = 0x100 + value
      else {
        buffer[this.at] = 0xd3
        this.at = buffer.writeBigInt64BE(BigInt(value), this.at + 1)
      }
    } else if (value < 0x80) buffer[this.at++] = value
    else if (value < 0x100) {
      buffer[this.at] = 0xcc
      this.at = buffer.writeUInt8(value, this.at + 1)
    } else if (value < 0x10000) {
      buffer[this.at] = 0xcd
      this.at = buffer.writeUInt16BE(value, this.at + 1)
    } else {
      buffer[this.at] = 0xce
      this.at = buffer.writeUInt32BE(value, this.at + 1)
    }
  }

  /** A u64 in the shortest form, as msgspec writes it. */
  hash(value: Buffer | bigint, form: HashForm): void {
    if (typeof value !== 'bigint' && form === 'bytes') {
      this.binary(value)
      return
    }
    const integer = typeof value === 'bigint' ? value : digestInteger(value)
    if (integer <= 0xffffffffn) {
      this.integer(Number(integer))
      return
    }
    this.reserve(9)
    this.buffer[this.at] = 0xcf
    this.at = this.buffer.writeBigUInt64BE(integer, this.at + 1)
  }

  binary(value: Uint8Array): void {
    this.reserve(value.length + 5)
    this.buffer[this.at] = 0xc4
    this.at = this.buffer.writeUInt8(value.length, this.at + 1)
    this.buffer.set(value, this.at)
    this.at += value.length
  }

  text(value: string): void {
    const bytes = Buffer.byteLength(value)
    this.reserve(bytes + 5)
    if (bytes < 32) this.buffer[this.at++] = 0xa0 | bytes
    else if (bytes < 0x100) {
      this.buffer[this.at] = 0xd9
      this.at = this.buffer.writeUInt8(bytes, this.at + 1)
    } else {
      this.buffer[this.at] = 0xda
      this.at = this.buffer.writeUInt16BE(bytes, this.at + 1)
    }
    this.at += this.buffer.write(value, this.at, 'utf8')
  }

  array(length: number): void {
    this.reserve(5)
    if (length < 16) this.buffer[this.at++] = 0x90 | length
    else if (length < 0x10000) {
      this.buffer[this.at] = 0xdc
      this.at = this.buffer.writeUInt16BE(length, this.at + 1)
    } else {
      this.buffer[this.at] = 0xdd
      this.at = this.buffer.writeUInt32BE(length, this.at + 1)
    }
  }

  map(length: number, isWide: boolean): void {
    this.reserve(3)
    if (!isWide && length < 16) this.buffer[this.at++] = 0x80 | length
    else {
      this.buffer[this.at] = 0xde
      this.at = this.buffer.writeUInt16BE(length, this.at + 1)
    }
  }

  integers(values: Uint32Array): void {
    this.array(values.length)
    for (const value of values) this.integer(value)
  }
}

export class EventEncoder {
  private readonly writer: MsgpackWriter
  private readonly era: Era
  private readonly form: HashForm

  constructor(era: Era, form: HashForm) {
    this.writer = new MsgpackWriter()
    this.era = era
    this.form = form
  }

  /** The payload of one batch; `seconds` is the engine's wall clock. */
  batch(seconds: number, events: readonly (WireEvent | KvEvent)[], rank: number): Buffer {
    const { writer } = this
    writer.array(3)
    writer.float(seconds)
    writer.array(events.length)
    for (const event of events) {
      if (event.kind === 'stored') this.stored(event)
      else if (event.kind === 'removed') this.removed(event)
      else this.cleared()
    }
    writer.integer(rank)
    return writer.take()
  }

  private cleared(): void {
    if (this.era === 'E7') this.writer.array(1)
    else {
      this.writer.map(1, false)
      this.writer.text('type')
    }
    this.writer.text('AllBlocksCleared')
  }

  private removed(event: Extract<WireEvent, { kind: 'removed' }>): void {
    const { writer } = this
    const medium = event.medium ?? 'GPU'
    if (this.era === 'E7') {
      writer.array(4)
      writer.text('BlockRemoved')
      writer.array(1)
      writer.hash(event.hash, this.form)
      writer.text(medium)
      writer.integer(0)
      return
    }
    const optional =
      (event.locality === undefined ? 0 : 1) + (event.ownership === undefined ? 0 : 1)
    writer.map(4 + optional, false)
    this.field('type', 'BlockRemoved')
    writer.text('block_hashes')
    writer.array(1)
    writer.hash(event.hash, this.form)
    this.field('medium', medium)
    writer.text('group_idx')
    writer.integer(0)
    if (event.locality !== undefined) this.field('locality', event.locality)
    if (event.ownership !== undefined) this.field('ownership', event.ownership)
  }

  private field(name: string, value: string): void {
    this.writer.text(name)
    this.writer.text(value)
  }

  private stored(event: WireStored): void {
    const { writer } = this
    if (this.era === 'E7') {
      writer.array(12)
      writer.text('BlockStored')
      this.storedCore(event, false)
      this.extraKeys(event)
      writer.integer(0)
      const kind = event.specKind === undefined ? 'full_attention' : event.specKind
      if (kind === null) writer.nil()
      else writer.text(kind)
      writer.nil()
      return
    }
    const { extraKeys, specKind, locality, ownership, sessionId, lookahead } = event
    const optional = [
      extraKeys,
      specKind === undefined ? 'full_attention' : specKind,
      locality ?? null,
      ownership ?? null,
      sessionId,
      lookahead,
    ]
    const present = optional.filter(value => value !== null).length
    writer.map(9 + present, this.era === 'E11')
    this.field('type', 'BlockStored')
    this.storedCore(event, true)
    if (extraKeys !== null) {
      writer.text('extra_keys')
      this.extraKeys(event)
    }
    writer.text('group_idx')
    writer.integer(0)
    if (specKind !== null) this.field('kv_cache_spec_kind', specKind ?? 'full_attention')
    if (locality !== undefined) this.field('locality', locality)
    if (ownership !== undefined) this.field('ownership', ownership)
    if (sessionId !== null) this.field('session_id', sessionId)
    if (lookahead !== null) {
      writer.text('lookahead_token_ids')
      writer.array(lookahead.length)
      for (const tokens of lookahead) writer.integers(tokens)
    }
  }

  /** The fields that have no default: present in every era, nil or not. */
  private storedCore(event: WireStored, isNamed: boolean): void {
    const { writer, form } = this
    if (isNamed) writer.text('block_hashes')
    writer.array(event.hashes.length)
    for (const hash of event.hashes) writer.hash(hash, form)
    if (isNamed) writer.text('parent_block_hash')
    if (event.parent === null) writer.nil()
    else writer.hash(event.parent, form)
    if (isNamed) writer.text('token_ids')
    writer.integers(event.tokens)
    if (isNamed) writer.text('block_size')
    writer.integer(event.blockSize)
    if (isNamed) writer.text('lora_id')
    if (event.adapterId === null) writer.nil()
    else writer.integer(event.adapterId)
    if (isNamed) writer.text('medium')
    writer.text(event.medium ?? 'GPU')
    if (isNamed) writer.text('lora_name')
    if (event.adapter === null) writer.nil()
    else writer.text(event.adapter)
  }

  private extraKeys({ extraKeys }: WireStored): void {
    const { writer } = this
    if (extraKeys === null) {
      writer.nil()
      return
    }
    writer.array(extraKeys.length)
    for (const keys of extraKeys) {
      if (keys === null) {
        writer.nil()
        continue
      }
      writer.array(keys.length)
      for (const key of keys) {
        if (typeof key === 'string') writer.text(key)
        else {
          writer.array(2)
          writer.text(key[0])
          writer.integer(key[1])
        }
      }
    }
  }
}
