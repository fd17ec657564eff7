import { describe, expect, it } from 'vitest'
import {
  type Era,
  EventEncoder,
  type WireEvent,
  type WireStored,
} from '../../src/sim/event_encoding.ts'

const HASHES = [15_760_518_052_499_183_552n, 9_223_372_036_854_775_809n]
const SECONDS = 1_700_000_000.5
const STORED: WireStored = {
  kind: 'stored',
  hashes: HASHES,
  parent: null,
  tokens: Uint32Array.from({ length: 32 }, (_, n) => 100 + n),
  blockSize: 16,
  adapter: null,
  adapterId: null,
  extraKeys: [null, null],
  sessionId: null,
  lookahead: null,
}

function encode(era: Era, stored: Partial<WireStored>, removed: object = {}): string {
  const first = HASHES[0] ?? 0n
  const events: WireEvent[] = [
    { ...STORED, ...stored },
    { kind: 'removed', hash: first, ...removed },
    { kind: 'cleared' },
  ]
  return new EventEncoder(era, 'int').batch(SECONDS, events, 0).toString('hex')
}

// Batches that msgspec made of vLLM's own classes.
const E7 =
  '93cb41d954fc40200000939cab426c6f636b53746f72656492cfdab89baa7b5857c0cf8000000000000001c0dc00206465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7fcc80cc81cc82cc8310c0a3475055c0929192a66d6d68617368fdc000ae66756c6c5f617474656e74696f6ec094ac426c6f636b52656d6f76656491cfdab89baa7b5857c0a34750550091b0416c6c426c6f636b73436c656172656400'
const E8 =
  '93cb41d954fc40200000938ba474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657392cfdab89baa7b5857c0cf8000000000000001b1706172656e745f626c6f636b5f68617368c0a9746f6b656e5f696473dc00206465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7fcc80cc81cc82cc83aa626c6f636b5f73697a6510a76c6f72615f6964c0a66d656469756da3475055a96c6f72615f6e616d65c0aa65787472615f6b65797392c0c0a967726f75705f69647800b26b765f63616368655f737065635f6b696e64ae66756c6c5f617474656e74696f6e84a474797065ac426c6f636b52656d6f766564ac626c6f636b5f68617368657391cfdab89baa7b5857c0a66d656469756da3475055a967726f75705f6964780081a474797065b0416c6c426c6f636b73436c656172656400'
const E10 =
  '93cb41d954fc40200000938ca474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657392cfdab89baa7b5857c0cf8000000000000001b1706172656e745f626c6f636b5f68617368c0a9746f6b656e5f696473dc00206465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7fcc80cc81cc82cc83aa626c6f636b5f73697a6510a76c6f72615f6964c0a66d656469756da753544f52414745a96c6f72615f6e616d65c0a967726f75705f69647800a86c6f63616c697479a54c4f43414ca96f776e657273686970a26673aa73657373696f6e5f6964a6736573732d3186a474797065ac426c6f636b52656d6f766564ac626c6f636b5f68617368657391cfdab89baa7b5857c0a66d656469756da753544f52414745a967726f75705f69647800a86c6f63616c697479a54c4f43414ca96f776e657273686970a2667381a474797065b0416c6c426c6f636b73436c656172656400'

describe('the encoding of KV events', () => {
  it('is the golden positional batch of era E7', () => {
    expect(encode('E7', { extraKeys: [[['mmhash', -3]], null] })).toBe(E7)
  })

  it('is the golden map batch that plain GPU events have had since 0.24', () => {
    expect(encode('E10', {})).toBe(E8)
  })

  it('is the golden map batch of era E10 with all optional fields', () => {
    const tier = { medium: 'STORAGE', locality: 'LOCAL', ownership: 'fs' }
    const stored = { ...tier, extraKeys: null, specKind: null, sessionId: 'sess-1' }
    expect(encode('E10', stored, tier)).toBe(E10)
  })

  it('has a 16-bit map header and the lookahead tokens in era E11', () => {
    const plain = encode('E11', {})
    expect(plain).toContain('de000ba474797065ab426c6f636b53746f726564')
    expect(plain).toContain('84a474797065ac426c6f636b52656d6f766564')
    const lookahead = [Uint32Array.of(1, 2), Uint32Array.of(3, 400)]
    const ahead = encode('E11', { lookahead })
    expect(ahead).toContain('de000ca474797065')
    const name = Buffer.from('lookahead_token_ids').toString('hex')
    expect(ahead).toContain(`${name}929201029203cd0190`)
  })

  it('carries whole digests when hashes are bytes', () => {
    const digest = Buffer.from(Array.from({ length: 32 }, (_, n) => n))
    const events: WireEvent[] = [{ kind: 'removed', hash: digest }]
    const hex = new EventEncoder('E7', 'bytes').batch(SECONDS, events, 3).toString('hex')
    expect(hex).toBe(
      `93cb41d954fc402000009194ac426c6f636b52656d6f76656491c420${digest.toString('hex')}a34750550003`,
    )
  })
})
