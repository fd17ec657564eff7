import { describe, expect, test } from 'vitest'
import { HashGroups, hasFixedSeed } from '../../src/nodes/kv_feed.ts'

describe('hash groups', () => {
  test('sha256 has a fixed seed since vLLM 0.29, xxhash never', () => {
    const fixed = ['0.29.0', '0.32.0', '0.33.0rc1.dev5+g1234', 'v0.30.1', '1.0.0', '0.100.0']
    for (const version of fixed) expect(hasFixedSeed(version, 'sha256')).toBe(true)
    expect(hasFixedSeed('0.32.0', 'sha256_cbor')).toBe(true)
    expect(hasFixedSeed('0.28.9', 'sha256')).toBe(false)
    expect(hasFixedSeed('0.9.2', 'sha256')).toBe(false)
    expect(hasFixedSeed('0.32.0', 'xxhash')).toBe(false)
    expect(hasFixedSeed('0.32.0', 'xxhash_cbor')).toBe(false)
    expect(hasFixedSeed('0.32.0', '')).toBe(false)
    expect(hasFixedSeed('', 'sha256')).toBe(false)
  })

  test('ranks share a group when model, block size and algorithm agree', () => {
    const groups = new HashGroups()
    const first = groups.groupOf('m', 16, '0.32.0', 'sha256')
    expect(first).toBeGreaterThan(0)
    expect(groups.groupOf('m', 16, '0.29.0', 'sha256')).toBe(first)
    const others = [
      groups.groupOf('n', 16, '0.32.0', 'sha256'),
      groups.groupOf('m', 32, '0.32.0', 'sha256'),
      groups.groupOf('m', 16, '0.32.0', 'sha256_cbor'),
    ]
    expect(new Set([first, ...others]).size).toBe(4)
  })

  test('a random seed is a group of its own at every start', () => {
    const groups = new HashGroups()
    const drawn = [1, 2, 3].map(() => groups.groupOf('m', 16, '0.32.0', 'xxhash'))
    expect(new Set(drawn).size).toBe(3)
  })
})
