import { describe, expect, test } from 'vitest'
import { ModelNames, NAMES_MAX } from '../../src/nodes/model_names.ts'

function names(): { of: (...served: string[]) => string | null; merges: () => number } {
  let merges = 0
  const own = new ModelNames(() => void merges++)
  return { of: (...served) => own.nameFor(served), merges: () => merges }
}

describe('the name of a model in the index', () => {
  test('is the same at every node that shares a served name, whoever came first', () => {
    const first = names()
    expect([first.of('beta', 'alpha'), first.of('beta'), first.of('alpha')]).toEqual([
      'alpha',
      'alpha',
      'alpha',
    ])
    const second = names()
    expect([second.of('beta'), second.of('beta', 'alpha'), second.of('alpha')]).toEqual([
      'beta',
      'beta',
      'beta',
    ])
    expect([first.merges(), second.merges()]).toEqual([0, 0])
  })

  test('keeps models apart that no node serves together', () => {
    const { of } = names()
    expect([of('a'), of('b'), of('c', 'b'), of()]).toEqual(['a', 'b', 'b', null])
  })

  test('becomes one, and is said so, when a node serves both', () => {
    const { of, merges } = names()
    expect([of('b', 'b2'), of('a')]).toEqual(['b', 'a'])
    expect(of('a', 'b')).toBe('a')
    expect(merges()).toBe(1)
    expect([of('b2'), of('b'), of('a', 'b2')]).toEqual(['a', 'a', 'a'])
    expect(merges()).toBe(1)
  })

  test('is not remembered past the limit', () => {
    const { of } = names()
    for (let i = 0; i < NAMES_MAX; i++) of(`m${i}`)
    expect([of('y', 'x'), of('y')]).toEqual(['x', 'y'])
    expect(of('m1', 'z')).toBe('m1')
  })
})
