import * as fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { IndexBatch } from '../../../src/native/prefix_index.ts'
import {
  decodeBatch,
  EVENT_ITEMS_MAX,
  type EventBatch,
  type KvEvent,
  peekTs,
  type StoredEvent,
} from '../../../src/nodes/kv_events/decode.ts'
import { GOLDEN } from './golden_batches.ts'

const packr = new Packr({ useRecords: false, variableMapSize: true })
const FIRST = 15760518052499183552n
const SECOND = 9223372036854775809n

function decoded(payload: Uint8Array): EventBatch {
  const batch = decodeBatch(payload)
  if (batch === null) throw new Error('the bytes are no batch')
  return batch
}

function golden(name: string): EventBatch {
  return decoded(Buffer.from(GOLDEN[name] ?? '', 'hex'))
}

function storedIn(batch: EventBatch): StoredEvent {
  const event = batch.events.find(one => one.kind === 'stored')
  if (event === undefined) throw new Error('no store')
  return event
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => from + index)
}

describe('golden batches (EV-09)', () => {
  test.each(Object.keys(GOLDEN))('%s: a store, a removal and a clear', name => {
    const batch = golden(name)
    expect(batch).toMatchObject({ ts: 1700000000.5, malformed: 0, unknown: 0 })
    expect(batch.events.map(event => event.kind)).toEqual(['stored', 'removed', 'cleared'])
    expect(peekTs(Buffer.from(GOLDEN[name] ?? '', 'hex'))).toBe(1700000000.5)
  })

  test.each(['E1', 'E2', 'E3', 'E4', 'E5', 'E6', 'E7', 'E8', 'E10'])('%s: fields', name => {
    const store = storedIn(golden(name))
    expect([...store.hashes]).toEqual([FIRST, SECOND])
    expect([...store.tokens]).toEqual(range(100, 32))
    expect(store).toMatchObject({ parent: null, blockSize: 16, isRemote: false })
    const [, removal] = golden(name).events
    expect(removal).toMatchObject({ kind: 'removed', hashes: BigUint64Array.of(FIRST) })
  })

  test('E1b: negative hashes are two’s complement (EV-11)', () => {
    const store = storedIn(golden('E1b'))
    expect([...store.hashes]).toEqual([2n ** 64n - 5n, 7n])
    expect(store.parent).toBe(2n ** 63n)
    const removal = golden('E1b').events[1]
    expect(removal).toMatchObject({ hashes: BigUint64Array.of(2n ** 64n - 5n) })
  })

  test('E3b: digests map to their last 8 bytes (EV-11)', () => {
    const store = storedIn(golden('E3b'))
    expect(store.hashes[0]).toBe(0x18191a1b1c1d1e1fn)
    expect(store.parent).toBe(0x191a1b1c1d1e1f20n)
    expect(store.tokens.length).toBe(16)
  })

  test('adapter, extras, group, kind and medium are read where a version has them', () => {
    expect(storedIn(golden('E4'))).toMatchObject({ loraName: 'sql-lora', extraKeys: null })
    expect(storedIn(golden('E5')).extraKeys).toEqual([['salt123'], null])
    expect(storedIn(golden('E6'))).toMatchObject({ group: 0, specKind: null })
    const seven = storedIn(golden('E7'))
    expect(seven).toMatchObject({ group: 0, specKind: 'full_attention', medium: 'gpu' })
    expect(seven.extraKeys).toEqual([[['mmhash', -3]], null])
    expect(storedIn(golden('E8'))).toMatchObject({ group: 0, specKind: 'full_attention' })
    expect(storedIn(golden('E10'))).toMatchObject({ medium: 'other', group: 0 })
    expect(storedIn(golden('PH'))).toMatchObject({ medium: 'other', blockSize: 0 })
  })

  test('E11: a 16-bit map header and look-ahead tokens', () => {
    const store = {
      type: 'BlockStored',
      block_hashes: [FIRST],
      parent_block_hash: 5,
      token_ids: range(0, 16),
      block_size: 16,
      lora_id: null,
      medium: 'GPU',
      lora_name: null,
      extra_keys: [null],
      group_idx: 0,
      kv_cache_spec_kind: 'full_attention',
    }
    const bytes = packr.pack([1.5, [store], 0])
    // fixarray, float64, fixarray, and then the event's own header.
    const narrow = 11
    expect(bytes[narrow]).toBe(0x8b)
    const wide = Buffer.concat([
      bytes.subarray(0, narrow),
      Buffer.from([0xde, 0x00, 0x0b]),
      bytes.subarray(narrow + 1),
    ])
    expect(storedIn(decoded(wide))).toMatchObject({ parent: 5n, group: 0, hasLookahead: false })
    const ahead = { ...store, lookahead_token_ids: [[1, 2]], session_id: 's', origin: 'NEW' }
    expect(storedIn(decoded(packr.pack([1.5, [ahead], 0]))).hasLookahead).toBe(true)
  })

  test('a batch may be a map, and events may have fewer or more fields than known', () => {
    const events = [
      ['BlockStored', [1], null, range(0, 4), 4],
      ['BlockStored', [2], 1, range(0, 4), 4, null, 'GPU', null, null, 0, 'x', null, 'new', 9],
      ['BlockRemoved', [1], 'GPU', 0, 'extra'],
      ['AllBlocksCleared', 'extra'],
    ]
    const batch = decoded(packr.pack({ ts: 2, events, data_parallel_rank: 3, more: 1 }))
    expect(batch.events.map(event => event.kind)).toEqual([
      'stored',
      'stored',
      'removed',
      'cleared',
    ])
  })
})

/** A store of one block of one token. */
function storedWith(extraKeys: unknown): unknown[] {
  return ['BlockStored', [1], null, [1], 1, null, 'GPU', null, extraKeys]
}

/** A removal of block 1 with one more field, whose value is an extension of a later type. */
function removalWith(name: string, extension: readonly number[]): Buffer {
  const fields = [
    ['type', 'BlockRemoved'],
    ['block_hashes', [1]],
  ].flat()
  const known = fields.map(value => packr.pack(value))
  const own = [Buffer.of(0x83), ...known, packr.pack(name), Buffer.from(extension)]
  return Buffer.concat([Buffer.of(0x93), packr.pack(1.5), Buffer.of(0x91), ...own, Buffer.of(0)])
}

describe('damage', () => {
  const good: unknown[] = ['BlockRemoved', [1]]
  const damaged: readonly (readonly [string, unknown])[] = [
    ['a number', 5],
    ['nil', null],
    ['no tag', []],
    ['hashes missing', ['BlockStored']],
    ['a hash that is a text', ['BlockRemoved', ['x']]],
    ['a hash that is a fraction', ['BlockRemoved', [1.5]]],
    ['a short digest', ['BlockRemoved', [Buffer.alloc(4)]]],
    ['token pairs of a drafter', ['BlockStored', [1], null, [[1, 2]], 1]],
    ['a negative token', ['BlockStored', [1], null, [-1], 1]],
    ['a block size that is a text', ['BlockStored', [1], null, [1], '1']],
    ['a parent that is a list', ['BlockStored', [1], [2], [1], 1]],
    ['an extra key that is a map', storedWith([[{ toString: 1, valueOf: 1 }]])],
    ['an extra key without an end', storedWith([[[[[['x']]]]]])],
    ['extra keys that are a text', storedWith('x')],
  ]

  test.each(damaged)('EV-10: %s costs that event only', (_name, item) => {
    const batch = decoded(packr.pack([1, [good, item, good], 0]))
    expect(batch).toMatchObject({ malformed: 1, unknown: 0 })
    expect(batch.events.length).toBe(2)
  })

  test('EV-10: an unknown tag costs that event only', () => {
    const batch = decoded(
      packr.pack([1, [good, ['BlockInactive', [1]], { type: 'Later' }, good], 0]),
    )
    expect(batch).toMatchObject({ malformed: 0, unknown: 2 })
    expect(batch.events.length).toBe(2)
  })

  test.each([
    ['fixext of an unknown type', [0xd4, 0x2a, 0x07]],
    ['ext 8 of an unknown type', [0xc7, 2, 0x2a, 1, 2]],
    ['a time stamp', [0xd6, 0xff, 1, 2, 3, 4]],
    ['a reference to what was not defined', [0xd6, 0x70, 0, 0, 0, 1]],
  ])('%s in an unknown field is skipped with it', (_name, extension) => {
    expect(decoded(removalWith('later', extension))).toMatchObject({ malformed: 0, unknown: 0 })
    expect(decoded(removalWith('later', extension)).events.length).toBe(1)
  })

  test('EV-10: an extension where a hash belongs is no hash', () => {
    expect(decoded(removalWith('block_hashes', [0xd7, 0x2a, 1, 2, 3, 4, 5, 6, 7, 8]))).toEqual({
      ts: 1.5,
      events: [],
      malformed: 1,
      unknown: 0,
    })
  })

  test('EV-10: more items than an event may have cost that event only', () => {
    const most = Array.from({ length: EVENT_ITEMS_MAX + 1 }, () => 1)
    const batch = decoded(packr.pack([1, [good, ['BlockRemoved', most], good], 0]))
    expect([batch.malformed, batch.events.length]).toEqual([1, 2])
  })

  test('the largest event fits an empty batch of the index', () => {
    const words = new BigUint64Array(EVENT_ITEMS_MAX)
    const tokens = new Uint32Array(EVENT_ITEMS_MAX)
    const root = BigUint64Array.of(1n)
    const event = { root, parent: 1n, hashes: words, tokens, extras: words }
    expect(new IndexBatch().store(event)).toBe(true)
    expect(new IndexBatch().removeAll(words)).toBe(true)
  })

  test('a golden batch cut at any byte is no batch, and never an exception', () => {
    for (const [name, hex] of Object.entries(GOLDEN)) {
      const whole = Buffer.from(hex, 'hex')
      for (let cut = 0; cut < whole.length; cut++) {
        const batch = decodeBatch(whole.subarray(0, cut))
        // E1 ends after its events; all others need the rank after them.
        if (batch !== null) throw new Error(`${name} cut at ${cut} decoded`)
      }
    }
  })

  test('garbage and flipped bytes end in a batch or in none', () => {
    const bytes = fc.uint8Array({ maxLength: 300 })
    const flips = fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 6 })
    const name = fc.constantFrom(...Object.keys(GOLDEN))
    const flipped = fc.tuple(name, flips).map(([key, changes]) => {
      const payload = Buffer.from(GOLDEN[key] ?? '', 'hex')
      for (const [at, value] of changes) payload[at % payload.length] = value
      return payload
    })
    fc.assert(
      fc.property(fc.oneof(bytes, flipped), payload => {
        const batch = decodeBatch(payload)
        peekTs(payload)
        for (const event of batch?.events ?? []) checkShape(event)
      }),
      { numRuns: 3_000, interruptAfterTimeLimit: 10_000 },
    )
  })
})

function checkShape(event: KvEvent): void {
  expect(['stored', 'removed', 'cleared']).toContain(event.kind)
  if (event.kind === 'cleared') return
  expect(event.hashes).toBeInstanceOf(BigUint64Array)
  if (event.kind === 'stored') expect(event.tokens).toBeInstanceOf(Uint32Array)
}

test('every hash of 64 bits survives exactly, in any encoding', () => {
  const hash = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 20 }), hashes => {
      const digests = hashes.map(value => {
        const digest = Buffer.alloc(32, 0xab)
        digest.writeBigUInt64BE(value, 24)
        return digest
      })
      const events = [
        ['BlockRemoved', hashes],
        ['BlockRemoved', digests],
      ]
      for (const event of decoded(packr.pack([1, events, 0])).events) {
        expect(event.kind === 'removed' && [...event.hashes]).toEqual(hashes)
      }
    }),
  )
})
