/**
 * The reader that counts: Python's safetensors loads shards through the mount, by mapping and by
 * plain reads, and gets the bytes that it gets from the source. The bench does so with gigabytes.
 */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import {
  hasSafetensors,
  type Loaded,
  loadedOf,
  loadWords,
  python,
  type Way,
  writeShards,
} from '../../bench/model_cache_parts/safetensors.ts'
import { fast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { program } from './workplace.ts'

const isRunnable = hasSafetensors()
if (!isRunnable) {
  process.stderr.write(`\n*** NOT TESTED HERE: ${python} has no safetensors and numpy ***\n\n`)
}

async function digests(way: Way, root: string): Promise<Loaded['digests']> {
  return loadedOf(await program(python, ...loadWords(way, path.join(root, 'model')))).digests
}

useWorkplace()

test.runIf(canMount && isRunnable)(
  'shards load through the mount by mapping and by reads, byte for byte',
  async () => {
    mkdirSync(path.join(source, 'model'), { recursive: true })
    writeShards(path.join(source, 'model'), 4, 6, 300_000)
    place.write('model/config.json', '{}')
    await place.start('mount', source, fast, '--capacity', '1GiB')
    const wanted = await digests('read', source)
    expect(wanted).toHaveLength(24)
    const [mapped, read] = await Promise.all([digests('map', fast), digests('read', fast)])
    expect([mapped, read]).toEqual([wanted, wanted])
    expect(await digests('map', fast)).toEqual(wanted)
  },
)
