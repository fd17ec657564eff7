/** What the native fetcher holds of members, and for how long. */
import { readdirSync } from 'node:fs'
import { afterEach, expect, test, vi } from 'vitest'
import type { ChunkFetcher } from '../../src/model-cache/fetch.ts'
import { nativeFetcher } from '../../src/model-cache/native_transfer.ts'
import { freePorts } from './members.ts'

const MEMBERS = 20
const fetchers: ChunkFetcher[] = []

afterEach(() => {
  for (const fetcher of fetchers.splice(0)) fetcher.close()
})

function threads(): number {
  return readdirSync('/proc/self/task').length
}

test('threads of members that are gone end', async () => {
  const fetcher = nativeFetcher({ token: null, nowMs: Date.now })
  fetchers.push(fetcher)
  const [kept = 0, ...gone] = await freePorts(MEMBERS)
  const id = '0'.repeat(32)
  const chunk = { fileId: id, generation: id, chunk: 0, length: 10, storeFd: 1, expected: null }
  const ask = (port: number) => fetcher.fetch({ ...chunk, host: '127.0.0.1', port })
  await ask(kept)
  const before = threads()
  const asked = await Promise.all(gone.map(ask))
  expect(new Set(asked.map(({ kind }) => kind))).toEqual(new Set(['refused']))
  expect(threads()).toBeGreaterThanOrEqual(before + gone.length)
  fetcher.keepOnly([{ host: '127.0.0.1', port: kept }])
  // The rest may be threads that the runtime has started meanwhile.
  await vi.waitFor(() => expect(threads()).toBeLessThan(before + gone.length / 2))
})
