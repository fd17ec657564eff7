import { expect, test } from 'vitest'
import { PrefixIndex } from '../../../src/native/prefix_index.ts'
import { ROOT_NAME_MAX, SharedIndex } from '../../../src/nodes/kv_events/slot_index.ts'

test('roots are remembered, but not for salts that are long', () => {
  const index = PrefixIndex.create({ blockSize: 16, bytesMax: 1 << 20 })
  const shared = new SharedIndex(index.id, 'm')
  expect(shared.rootOf('', 'salt')).toBe(shared.rootOf('', 'salt'))
  const long = 'x'.repeat(ROOT_NAME_MAX)
  expect(shared.rootOf('', long)).toEqual(shared.rootOf('', long))
  expect(shared.rootOf('', long)).not.toBe(shared.rootOf('', long))
  index.close()
})
