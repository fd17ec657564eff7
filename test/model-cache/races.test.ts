/**
 * Opens that race evictions, on a real mount: every open finds the old bytes or the new node,
 * whole, of one generation that the source had meanwhile; never an error, never zeros; and the
 * daemon does not die of a broken lease (SIGIO).
 *
 * WARMPATH_TEST_RACES sets the number of opens (100,000 takes some minutes).
 */
import { renameSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { canMount } from './privileges.ts'
import { randomOf, SEED, seeded } from './seeded.ts'
import { makeFolders, Served, tidyUp } from './served.ts'

const OPENS = Number(process.env['WARMPATH_TEST_RACES'] ?? 600)
const READERS = 3
const BYTES = 12_288

/** Opens for one change of the source, which evicts by force what it replaces. */
const OPENS_A_CHANGE_MAX = 60

let running: Served | null = null
afterEach(async () => {
  if (running !== null) await tidyUp(running.folders, running)
  running = null
})

/** Every word of a generation is its number, which is never zero. */
function contentOf(generation: number): Buffer {
  const bytes = Buffer.alloc(BYTES)
  for (let at = 0; at < BYTES; at += 4) bytes.writeUInt32LE(generation, at)
  return bytes
}

describe.skipIf(!canMount).each(['passthrough', 'copy'] as const)('in %s mode', mode => {
  test('opens that race evictions find one generation whole', { timeout: 1_800_000 }, () =>
    seeded(async () => {
      const folders = makeFolders()
      let generation = 1
      const change = (): void => {
        const fresh = path.join(folders.root, 'fresh')
        writeFileSync(fresh, contentOf(generation))
        renameSync(fresh, path.join(folders.source, 'a'))
      }
      change()
      running = await Served.start(folders, [`mode=${mode}`, 'revalidate=5'])
      const served = running
      const daemon = await served.daemonPid()
      const random = randomOf(SEED)
      const evictions = { evicted: 0, busy: 0 }
      const race = { opens: 0 }
      const isOn = (): boolean => race.opens < OPENS
      const evicting = async (): Promise<void> => {
        while (isOn()) {
          const answer = await served.ask('evict a')
          expect(['evicted', 'busy']).toContain(answer)
          evictions[answer === 'evicted' ? 'evicted' : 'busy'] += 1
        }
      }
      const reading = async (): Promise<void> => {
        let seen = 1
        while (isOn()) {
          race.opens += 1
          if (random() < 1 / OPENS_A_CHANGE_MAX) {
            generation += 1
            change()
          }
          const bytes = await readFile(path.join(folders.mount, 'a'))
          const found = bytes.readUInt32LE(0)
          expect(bytes.equals(contentOf(found))).toBe(true)
          // Time does not run backwards for one reader, nor ahead of the source.
          expect(found).toBeGreaterThanOrEqual(seen)
          expect(found).toBeLessThanOrEqual(generation)
          seen = found
        }
      }
      await Promise.all([evicting(), ...Array.from({ length: READERS }, reading)])
      expect(await served.daemonPid()).toBe(daemon)
      expect(evictions.evicted).toBeGreaterThan(OPENS / 20)
      if (OPENS > 10_000) process.stderr.write(`${mode}: ${JSON.stringify(evictions)}\n`)
    }),
  )
})
