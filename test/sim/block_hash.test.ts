import { describe, expect, it } from 'vitest'
import { blockHash, DEFAULT_SEED, digestInteger, noneHash } from '../../src/sim/block_hash.ts'

const PLAIN = { adapter: null, salt: null }
const first = Uint32Array.from({ length: 16 }, (_, n) => 100 + n)
const second = Uint32Array.from({ length: 16 }, (_, n) => 116 + n)

describe('block hashes', () => {
  // Values of real engines with sha256_cbor; the salted ones up to 0.30.
  it.each([
    {
      seed: '0',
      none: '4e1195df020de59e',
      blocks: [8_468_860_364_822_751_900n, 5_659_426_989_048_894_505n],
      salted: 6_437_368_909_350_644_000n,
    },
    {
      seed: '42',
      none: '9fa6eb003f14425e',
      blocks: [6_658_331_277_240_515_430n, 8_353_329_011_930_047_756n],
      salted: 6_508_438_084_012_552_345n,
    },
  ])('equal those of an engine with seed $seed', ({ seed, none, blocks, salted }) => {
    const root = noneHash(seed)
    expect(root.toString('hex', 0, 8)).toBe(none)
    const one = blockHash(root, first, PLAIN, true)
    const two = blockHash(one, second, PLAIN, true)
    expect([digestInteger(one), digestInteger(two)]).toEqual(blocks)
    const salt = { adapter: null, salt: 'salt123' }
    expect(digestInteger(blockHash(root, first, salt, false))).toBe(salted)
  })

  it('differ with salt, adapter, tagging and lookahead', () => {
    const root = noneHash(DEFAULT_SEED)
    const salted = { adapter: null, salt: 's' }
    const adapted = { adapter: 's', salt: null }
    const hashes = [
      blockHash(root, first, PLAIN, true),
      blockHash(root, first, salted, true),
      blockHash(root, first, salted, false),
      blockHash(root, first, adapted, true),
      blockHash(root, first, PLAIN, true, Uint32Array.of(1)),
      blockHash(root, first, PLAIN, true, Uint32Array.of(2)),
    ].map(hash => hash.toString('hex'))
    expect(new Set(hashes).size).toBe(hashes.length)
  })

  it('start anywhere when the seed is random', () => {
    expect(noneHash(null).equals(noneHash(null))).toBe(false)
  })
})
