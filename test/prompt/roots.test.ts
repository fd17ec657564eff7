import { expect, it } from 'vitest'
import { ChainRoots, ROOT_NAME_MAX } from '../../src/prompt/roots.ts'
import { fakeRoot } from './fake_natives.ts'

it('roots are remembered, but not for salts that are long', () => {
  let made = 0
  const roots = new ChainRoots((...args) => {
    made++
    fakeRoot(...args)
  })
  const of = (salt: string): bigint => roots.of({ baseModel: 'm', adapter: '', salt }, 16)
  const short = [of('a'), of('b'), of('a'), of('b')]
  expect([made, short[0] === short[2], short[0] === short[1]]).toEqual([2, true, false])
  const long = 'x'.repeat(ROOT_NAME_MAX)
  expect(of(long)).toBe(of(long))
  expect(made).toBe(4)
  expect([of('a'), of('b')]).toEqual(short.slice(0, 2))
  expect(made).toBe(4)
})
