import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { decodeBatch } from '../../../src/nodes/kv_events/decode.ts'
import { type BlockWriter, Interpreter } from '../../../src/nodes/kv_events/interpreter.ts'
import { GOLDEN } from './golden_batches.ts'

const packr = new Packr({ useRecords: false })

function unexpected(): never {
  return expect.unreachable()
}

interface Written {
  readonly interpreter: Interpreter
  readonly log: string[]
  readonly send: (...events: readonly unknown[]) => string
}

/** An interpreter whose writes are a log of words; block size 4. */
function written(): Written {
  const log: string[] = []
  const writer: BlockWriter = {
    store: (root, parent, hashes, tokens, extras) => {
      const marks = [...(extras ?? [])].map(word => (word === 0n ? '0' : 'x'))
      const tail = extras === null ? '' : ` extras=${marks.join()}`
      const run = `hashes=${hashes.join()} tokens=${tokens.length}`
      log.push(`store root=${root[0]} parent=${parent} ${run}${tail}`)
    },
    removeBlocks: hashes => log.push(`remove ${hashes.join()}`),
    clear: () => log.push('clear'),
  }
  const roots = new Map<string, BigUint64Array>()
  const interpreter = new Interpreter(4, (adapter, salt) => {
    const name = `${adapter}/${salt}`
    const root = roots.get(name) ?? BigUint64Array.of(BigInt(100 + roots.size))
    roots.set(name, root)
    return root
  })
  const send = (...events: unknown[]): string => {
    log.length = 0
    interpreter.apply(decodeBatch(packr.pack([1, events, 0])), writer)
    return log.join('; ')
  }
  return { interpreter, log, send }
}

function store(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: 'BlockStored',
    block_hashes: [1, 2],
    parent_block_hash: null,
    token_ids: [1, 2, 3, 4, 5, 6, 7, 8],
    block_size: 4,
    medium: 'GPU',
    group_idx: 0,
    kv_cache_spec_kind: 'full_attention',
    ...changes,
  }
}

const removal = { type: 'BlockRemoved', block_hashes: [1], medium: 'GPU', group_idx: 0 }

describe('what enters the index', () => {
  test('a run of whole blocks, a removal, a clear', () => {
    const { send } = written()
    expect(send(store(), removal, { type: 'AllBlocksCleared' })).toBe(
      'store root=100 parent=null hashes=1,2 tokens=8; remove 1; clear',
    )
    expect(send(store({ parent_block_hash: 9 }))).toContain('root=0 parent=9')
  })

  test('EV-12: copies of other media neither add nor remove, whatever their case', () => {
    const { send, interpreter } = written()
    for (const medium of ['CPU', 'cpu', 'STORAGE']) {
      expect(send(store({ medium }), { ...removal, medium })).toBe('')
    }
    expect(interpreter.counts.skipped.other_medium).toBe(6)
    const placeholder = decodeBatch(Buffer.from(GOLDEN['PH'] ?? '', 'hex'))
    const writer = { store: unexpected, removeBlocks: unexpected, clear: () => {} }
    interpreter.apply(placeholder, writer)
    expect(interpreter.counts.skipped.other_medium).toBe(8)
  })

  test('a placeholder on the GPU is no root', () => {
    const { send, interpreter } = written()
    expect(send(store({ token_ids: [], block_size: 0 }))).toBe('')
    expect(send(store({ token_ids: null, block_size: 4 }))).toBe('')
    expect(interpreter.counts.skipped.placeholder).toBe(2)
  })

  test('EV-13: a block size that does not fit the tokens is skipped, not an exception', () => {
    const { send, interpreter } = written()
    expect(send(store({ block_size: 64 }), removal)).toBe('remove 1')
    expect(send(store({ block_size: 16, token_ids: [1] }))).toBe('')
    expect(interpreter.counts.skipped.other_block_size).toBe(2)
  })

  test('EV-14: window, mamba, partial and masked events never enter', () => {
    const { send, interpreter } = written()
    const kinds = ['sliding_window', 'mamba', 'chunked_local_attention', 'unknown', 'later_kind']
    for (const [index, kind] of kinds.entries()) {
      const group_idx = index + 1
      expect(send(store({ kv_cache_spec_kind: kind, group_idx }))).toBe('')
      // The removal does not say its kind: the group is remembered.
      expect(send({ ...removal, group_idx })).toBe('')
    }
    expect(interpreter.counts.skipped.not_dense).toBe(2 * kinds.length)
    expect(send(store({ block_hashes: [1], block_size: 2, token_ids: [1, 2] }))).toBe('')
    expect(send(store({ block_hashes: [1] }))).toBe('')
    expect(send(store({ block_hashes: [], token_ids: [] }))).toBe('')
    expect(interpreter.counts.skipped.masked).toBe(2)
    expect(send(store({ kv_cache_spec_kind: 'mla_attention' }))).toContain('store')
  })

  test('of several dense groups the first one speaks', () => {
    const { send, interpreter } = written()
    expect(send(store(), store({ group_idx: 1 }))).toBe(
      'store root=100 parent=null hashes=1,2 tokens=8',
    )
    expect(send({ ...removal, group_idx: 1 }, removal)).toBe('remove 1')
    expect(interpreter.counts.skipped.second_group).toBe(2)
    interpreter.restart()
    expect(send(store({ group_idx: 1 }))).toContain('store')
  })

  test('what another node holds is not this node’s', () => {
    const { send, interpreter } = written()
    expect(send(store({ locality: 'REMOTE' }), { ...removal, locality: 'REMOTE' })).toBe('')
    expect(send(store({ locality: 'LOCAL' }))).toContain('store')
    expect(interpreter.counts.skipped.remote).toBe(2)
  })

  test('a hash that is its own parent is refused', () => {
    const { send, interpreter } = written()
    expect(send(store({ parent_block_hash: 1 }))).toBe('')
    expect(interpreter.counts.skipped.self_parent).toBe(1)
  })
})

describe('roots and extras', () => {
  test('salt and adapter choose the root; the adapter’s name in the extras is no salt', () => {
    const { send } = written()
    const rootOf = (changes: Record<string, unknown>): string =>
      /root=(\d+)/.exec(send(store(changes)))?.[1] ?? 'none'
    const plain = rootOf({})
    const salted = rootOf({ extra_keys: [['salt123'], null] })
    const adapter = { lora_name: 'tiny-lora' }
    const lora = rootOf({ ...adapter, extra_keys: [['tiny-lora'], ['tiny-lora']] })
    const both = rootOf({ ...adapter, extra_keys: [['tiny-lora', 'salt123'], ['tiny-lora']] })
    expect(new Set([plain, salted, lora, both]).size).toBe(4)
    expect(rootOf({ extra_keys: [null, null] })).toBe(plain)
    expect(rootOf(adapter)).toBe(lora)
    // A salt that reads like an adapter, on the base model.
    expect(rootOf({ extra_keys: [['tiny-lora'], null] })).not.toBe(lora)
    expect(send(store({ ...adapter, extra_keys: [['tiny-lora'], ['tiny-lora']] }))).not.toContain(
      'extras',
    )
  })

  test('items and embedded prompts mark the blocks that carry them', () => {
    const { send } = written()
    const item = ['image-1', -3]
    expect(send(store({ extra_keys: [[item], null] }))).toContain('extras=x,0')
    expect(send(store({ extra_keys: [null, [item, ['image-2', 4]]] }))).toContain('extras=0,x')
    expect(send(store({ extra_keys: [[Buffer.alloc(32)], null] }))).toContain('extras=x,0')
    // Beyond the first block a lone text is no salt but an item of an older form.
    expect(send(store({ extra_keys: [null, ['image-1']] }))).toContain('extras=0,x')
    expect(send(store({ extra_keys: [[item, 'salt'], [item]] }))).toMatch(/root=101 .*extras=x,x/)
  })

  test('the look-ahead of a drafter is counted', () => {
    const { send, interpreter } = written()
    expect(send(store({ lookahead_token_ids: [[9], [9]] }))).toContain('store')
    expect(interpreter.counts.lookahead).toBe(1)
  })
})

test('a batch that cannot be read is lost, and says so', () => {
  const { interpreter } = written()
  const writer = { store: () => {}, removeBlocks: () => {}, clear: () => {} }
  expect(interpreter.apply(null, writer)).toBe('lost')
  expect(interpreter.apply(decodeBatch(packr.pack([1, [5], 0])), writer)).toBe('lost')
  expect(interpreter.apply(decodeBatch(packr.pack([1, [['New']], 0])), writer)).toBe('applied')
  const clear = decodeBatch(packr.pack([1, [['AllBlocksCleared']], 0]))
  expect(interpreter.apply(clear, writer)).toBe('cleared')
  expect(interpreter.counts).toMatchObject({ malformedBatches: 1, malformedEvents: 1, clears: 1 })
})
