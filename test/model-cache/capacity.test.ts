import { expect, test } from 'vitest'
import { formatBytes, parseCapacity } from '../../src/model-cache/capacity.ts'

test.each([
  ['10G', 10e9],
  ['10GB', 10e9],
  ['10Gi', 10 * 2 ** 30],
  ['20GiB', 20 * 2 ** 30],
  ['1.5 GiB', 1.5 * 2 ** 30],
  ['64MiB', 64 * 2 ** 20],
  ['100M', 100e6],
  ['2T', 2e12],
  ['1073741824', 2 ** 30],
  [1_048_576, 2 ** 20],
  ['4K', 4000],
  ['4096B', 4096],
])('%s is %d bytes', (text, bytes) => {
  expect(parseCapacity(text)).toBe(bytes)
})

test('a bare number below 1 MiB is refused with the remedy', () => {
  expect(parseCapacity(20)).toEqual({
    fault: '20 is 20 bytes, less than 1 MiB: write "20GiB" or "20G"',
  })
  expect(parseCapacity('1048575')).toHaveProperty('fault')
})

test.each(['', 'G', '-1G', '10X', '10Bi', '1e9', '0G', '99999999T'])('"%s" is refused', text => {
  expect(parseCapacity(text)).toHaveProperty('fault')
})

test('bytes are shown with a unit', () => {
  expect([0, 1023, 1536, 2 ** 30, 150 * 2 ** 20].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.5 KiB',
    '1.0 GiB',
    '150 MiB',
  ])
})
