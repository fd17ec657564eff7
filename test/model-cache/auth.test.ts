import { expect, test } from 'vitest'
import { CLOCK_SKEW_MS_MAX, Gate, sign } from '../../src/model-cache/auth.ts'

const TOKEN = 'a token that members share'
const NOW_MS = 1_790_000_000_000
const request = { method: 'GET', path: '/v1/blob/x/y', extra: 'bytes=0-3' }

test('a request that was signed with the token is let in once', () => {
  const gate = new Gate(TOKEN)
  const header = sign(TOKEN, request, NOW_MS)
  expect(gate.admits(header, request, NOW_MS + 1000)).toBe(true)
  expect(gate.admits(header, request, NOW_MS + 2000)).toBe(false)
})

test.each([
  ['another token', sign('another', request, NOW_MS), request, NOW_MS],
  ['no header', undefined, request, NOW_MS],
  ['half a header', 'Warmpath ts=1', request, NOW_MS],
  ['another range', sign(TOKEN, request, NOW_MS), { ...request, extra: 'bytes=4-7' }, NOW_MS],
  ['another path', sign(TOKEN, request, NOW_MS), { ...request, path: '/v1/blob/x/z' }, NOW_MS],
  ['an old one', sign(TOKEN, request, NOW_MS), request, NOW_MS + CLOCK_SKEW_MS_MAX + 1],
  ['one of the future', sign(TOKEN, request, NOW_MS + CLOCK_SKEW_MS_MAX + 1000), request, NOW_MS],
])('%s is not', (_, header, asked, nowMs) => {
  expect(new Gate(TOKEN).admits(header, asked, nowMs)).toBe(false)
})

test('without a token everybody is let in', () => {
  expect(new Gate(null).admits(undefined, request, NOW_MS)).toBe(true)
})
