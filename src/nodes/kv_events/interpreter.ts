/**
 * What the events of one (node, rank) mean for the prefix index: which stores and removals enter
 * it, under which chain root and with which extras. Rule 1 of the design is kept here: nothing
 * enters that the engine could not reuse for a prompt of the plain block size.
 *
 *     event ──► GPU? this node's cache? ──► dense full attention? ──► whole blocks? ──► writer
 *                 │ other medium, remote      │ window, mamba, …        │ masked, partial,
 *                 ▼                           ▼                         ▼ placeholder
 *               counted and skipped: one counter a reason, so that a node whose events never enter
 *               the index can be told why
 *
 * - Kinds are announced with stores only; a removal names just its cache group, so the kind of each
 *   group is remembered. When several dense groups are announced, the first one speaks for all.
 * - A store of other tokens than `hashes x block size` is a masked run (which blocks are missing is
 *   not said) or a partial block: skipped.
 * - Salt and adapter enter the chain at its root, multimodal items and embedded prompts the
 *   block that carries them. A lone text in the extras of the first block is the salt, unless it is
 *   the adapter's name, which vLLM repeats in every entry.
 * - Offloaded copies (other media) neither add nor remove: only the GPU's blocks count.
 *
 * Does badly: on hybrid models (several kinds) what it says is an upper bound of the reuse; with
 * a drafter's look-ahead (0.33) it is one block too long where prompts diverge: counted.
 */
import { createHash } from 'node:crypto'
import type { EventBatch, ExtraKey, RemovedEvent, StoredEvent } from './decode.ts'
import type { Applied } from './subscriber.ts'

/** Cache groups of one engine whose kind is remembered; real models have a handful. */
export const GROUPS_MAX = 256

/** Receives what enters the index, in order. */
export interface BlockWriter {
  /** `root` counts only without a parent; `extras`: one word a block, 0 = none; null = all none. */
  store(
    root: BigUint64Array,
    parent: bigint | null,
    hashes: BigUint64Array,
    tokens: Uint32Array,
    extras: BigUint64Array | null,
  ): void
  removeBlocks(hashes: BigUint64Array): void
  clear(): void
}

/** Why an event did not enter the index. */
export const SKIP_REASONS = [
  'other_medium',
  'remote',
  'not_dense',
  'second_group',
  'placeholder',
  'other_block_size',
  'masked',
  'self_parent',
] as const
export type SkipReason = (typeof SKIP_REASONS)[number]

export interface EventCounts {
  batches: number
  malformedBatches: number
  malformedEvents: number
  unknownEvents: number
  storedBlocks: number
  removedBlocks: number
  clears: number
  /** Stores whose hashes cover tokens past their blocks. */
  lookahead: number
  skipped: Record<SkipReason, number>
}

function noEventCounts(): EventCounts {
  return {
    batches: 0,
    malformedBatches: 0,
    malformedEvents: 0,
    unknownEvents: 0,
    storedBlocks: 0,
    removedBlocks: 0,
    clears: 0,
    lookahead: 0,
    skipped: {
      other_medium: 0,
      remote: 0,
      not_dense: 0,
      second_group: 0,
      placeholder: 0,
      other_block_size: 0,
      masked: 0,
      self_parent: 0,
    },
  }
}

// Kinds whose blocks hold every token before them; all others drop or sample some.
const DENSE_KINDS: ReadonlySet<string> = new Set([
  'full_attention',
  'mla_attention',
  'sink_full_attention',
])

const NO_ROOT = new BigUint64Array(1)

export class Interpreter {
  readonly counts: EventCounts
  readonly #blockSize: number
  readonly #rootOf: (adapter: string, salt: string) => BigUint64Array
  readonly #isDense: Map<number, boolean>
  /** The dense group that speaks for all; null until one is announced. */
  #denseGroup: number | null

  constructor(blockSize: number, rootOf: (adapter: string, salt: string) => BigUint64Array) {
    this.counts = noEventCounts()
    this.#blockSize = blockSize
    this.#rootOf = rootOf
    this.#isDense = new Map()
    this.#denseGroup = null
  }

  /** The engine was restarted: its groups may differ now. */
  restart(): void {
    this.#isDense.clear()
    this.#denseGroup = null
  }

  /** Passes a batch on to the writer. */
  apply(batch: EventBatch | null, writer: BlockWriter): Applied {
    this.counts.batches++
    if (batch === null) {
      this.counts.malformedBatches++
      return 'lost'
    }
    this.counts.malformedEvents += batch.malformed
    this.counts.unknownEvents += batch.unknown
    let applied: Applied = batch.malformed > 0 ? 'lost' : 'applied'
    for (const event of batch.events) {
      switch (event.kind) {
        case 'stored':
          this.#stored(event, writer)
          break
        case 'removed':
          this.#removed(event, writer)
          break
        case 'cleared':
          this.counts.clears++
          if (batch.malformed === 0) applied = 'cleared'
          writer.clear()
      }
    }
    return applied
  }

  #stored(event: StoredEvent, writer: BlockWriter): void {
    const { group, specKind, hashes, parent, tokens, loraName } = event
    if (group !== null && specKind !== null) this.#remember(group, DENSE_KINDS.has(specKind))
    const reason = this.#skipOf(event) ?? this.#misfit(event)
    if (reason !== null) {
      this.counts.skipped[reason]++
      return
    }
    if (event.hasLookahead) this.counts.lookahead++
    this.counts.storedBlocks += hashes.length
    const isRoot = parent === null
    const salt = isRoot ? saltOf(event) : ''
    const root = isRoot ? this.#rootOf(loraName, salt) : NO_ROOT
    writer.store(root, parent, hashes, tokens, extrasOf(event, salt))
  }

  #removed(event: RemovedEvent, writer: BlockWriter): void {
    const reason = this.#skipOf(event)
    if (reason !== null) {
      this.counts.skipped[reason]++
      return
    }
    this.counts.removedBlocks += event.hashes.length
    writer.removeBlocks(event.hashes)
  }

  #remember(group: number, isDense: boolean): void {
    if (this.#isDense.size >= GROUPS_MAX && !this.#isDense.has(group)) return
    this.#isDense.set(group, isDense)
    if (isDense) this.#denseGroup ??= group
  }

  #skipOf(event: StoredEvent | RemovedEvent): SkipReason | null {
    const { group } = event
    if (event.isRemote) return 'remote'
    if (event.medium !== 'gpu') return 'other_medium'
    // No kind at all is the form before 0.22, where full attention was all that was announced.
    if (event.kind === 'stored' && event.specKind !== null && !DENSE_KINDS.has(event.specKind)) {
      return 'not_dense'
    }
    if (group === null) return null
    if (this.#isDense.get(group) === false) return 'not_dense'
    return this.#denseGroup !== null && group !== this.#denseGroup ? 'second_group' : null
  }

  #misfit(event: StoredEvent): SkipReason | null {
    const { hashes, tokens, blockSize, parent } = event
    if (blockSize === 0 || (tokens.length === 0 && hashes.length > 0)) return 'placeholder'
    if (blockSize !== this.#blockSize) return 'other_block_size'
    if (hashes.length === 0 || tokens.length !== hashes.length * blockSize) return 'masked'
    return parent !== null && hashes[0] === parent ? 'self_parent' : null
  }
}

/** Texts of an entry of `extra_keys` without the adapter's name. */
function textsOf(entry: ExtraKey, loraName: string): string[] {
  if (!Array.isArray(entry)) return []
  const texts = entry.filter(key => typeof key === 'string')
  return loraName !== '' && entry[0] === loraName ? texts.slice(1) : texts
}

/** The cache salt of a chain's first block: the last text of its entry, for items come before. */
function saltOf(event: StoredEvent): string {
  return textsOf(event.extraKeys?.[0], event.loraName).at(-1) ?? ''
}

function extrasOf(event: StoredEvent, salt: string): BigUint64Array | null {
  const { extraKeys, hashes, loraName } = event
  if (extraKeys === null) return null
  let extras: BigUint64Array | null = null
  for (let index = 0; index < hashes.length; index++) {
    const entry = extraKeys[index]
    if (!Array.isArray(entry)) continue
    const texts = textsOf(entry, loraName)
    if (index === 0 && salt !== '') texts.pop()
    const others = entry.filter(key => typeof key !== 'string' && key !== null)
    const word = extraWord([...texts, ...others])
    if (word === 0n) continue
    extras ??= new BigUint64Array(hashes.length)
    extras[index] = word
  }
  return extras
}

/** One word for what else a block depends on: `[identifier, offset]`, digests; 0 = nothing. */
function extraWord(keys: readonly ExtraKey[]): bigint {
  if (keys.length === 0) return 0n
  const hash = createHash('sha256')
  for (const key of keys) hash.update(canonicalKey(key))
  // Never 0, which means "nothing".
  return hash.digest().readBigUInt64BE() | 1n
}

function canonicalKey(key: ExtraKey): string {
  if (key instanceof Uint8Array) return `b${Buffer.from(key).toString('hex')};`
  if (typeof key === 'object' && key !== null) return `[${key.map(canonicalKey).join('')}];`
  return `${typeof key}:${String(key)};`
}
