import { describe, expect, test } from 'vitest'
import { chainKeys, chainRoot, setChainSeed, textKeys } from '../../src/native/chain_hash.ts'

function rootOf(model: string, blockSize: number, adapter: string, salt: string): BigUint64Array {
  const out = new BigUint64Array(1)
  chainRoot(out, model, blockSize, adapter, salt)
  return out
}

function keysOf(root: BigUint64Array, tokens: readonly number[], blockSize: number): bigint[] {
  const out = new BigUint64Array(tokens.length)
  const count = chainKeys(root, Uint32Array.from(tokens), tokens.length, blockSize, out)
  return [...out.subarray(0, count)]
}

describe('chain hash', () => {
  test('a block that is not full has no key', () => {
    const root = rootOf('m', 4, '', '')
    expect(keysOf(root, [1, 2, 3], 4)).toHaveLength(0)
    expect(keysOf(root, [1, 2, 3, 4, 5], 4)).toHaveLength(1)
  })

  test('equal prefixes have equal keys, and nothing after the first difference', () => {
    const root = rootOf('m', 2, '', '')
    const a = keysOf(root, [1, 2, 3, 4, 5, 6], 2)
    const b = keysOf(root, [1, 2, 9, 4, 5, 6], 2)
    expect(b[0]).toBe(a[0])
    expect(b[1]).not.toBe(a[1])
    expect(b[2]).not.toBe(a[2])
  })

  test('model, block size, adapter and salt each lead to other roots', () => {
    const roots = [
      rootOf('m', 16, '', ''),
      rootOf('n', 16, '', ''),
      rootOf('m', 32, '', ''),
      rootOf('m', 16, 'a', ''),
      rootOf('m', 16, '', 'a'),
      rootOf('ma', 16, '', ''),
    ].map(root => root[0])
    expect(new Set(roots).size).toBe(roots.length)
  })

  test('text is keyed by whole chunks, apart from tokens of the same bytes', () => {
    const root = rootOf('m', 2, '', '')
    const text = new Uint8Array([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])
    const out = new BigUint64Array(4)
    expect(textKeys(root, text, 0, text.length, 8, out)).toBe(1)
    expect(out[0]).not.toBe(keysOf(root, [1, 2], 2)[0])
    const shifted = new BigUint64Array(4)
    expect(textKeys(root, Uint8Array.of(9, ...text), 1, text.length + 1, 8, shifted)).toBe(1)
    expect(shifted[0]).toBe(out[0])
  })

  test('the seed decides the keys', () => {
    setChainSeed(1n)
    const one = rootOf('m', 16, '', '')[0]
    setChainSeed(2n)
    expect(rootOf('m', 16, '', '')[0]).not.toBe(one)
    setChainSeed(1n)
    expect(rootOf('m', 16, '', '')[0]).toBe(one)
  })

  test('wrong arguments are refused by name', () => {
    const root = rootOf('m', 16, '', '')
    const tokens = new Uint32Array(32)
    expect(() => chainKeys(root, tokens, 33, 16, new BigUint64Array(2))).toThrow(/tokenCount/)
    expect(() => chainKeys(root, tokens, 32, 0, new BigUint64Array(2))).toThrow(/blockSize/)
    expect(() => chainKeys(root, tokens, 32, 16, new BigUint64Array(1))).toThrow(/out/)
    expect(() => textKeys(root, new Uint8Array(4), 3, 2, 1, root)).toThrow(/start/)
  })
})
