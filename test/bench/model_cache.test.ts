/** The bench of the model cache in its tiny version: it must run, and all paths read the same. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { run } from '../../bench/model_cache.ts'
import { rcloneVersion } from '../../bench/model_cache_parts/rclone.ts'
import { hasSafetensors } from '../../bench/model_cache_parts/safetensors.ts'
import { read, Site } from '../../bench/model_cache_parts/site.ts'
import { readBenchOptions } from '../../bench/options.ts'
import { canMount } from '../model-cache/privileges.ts'

/** Each part starts up to ten processes, on a machine that may have other work. */
const PART_MS_MAX = 180_000

const figure = expect.any(Number)
const ratio = { ratio: figure, low: figure, high: figure }

interface Beside {
  readonly model: { readonly bytes: number }
  readonly bytes_beside_others: number
}

function quick(part: string) {
  return run(readBenchOptions(['--quick', '--only', part]))
}

describe.runIf(canMount)('bench model-cache', () => {
  it('reads a resident file with one sum on every path', { timeout: PART_MS_MAX }, async () => {
    const reading = { native: figure, accelerated: figure, null: figure }
    expect(await quick('resident')).toMatchObject({
      rounds: 1,
      resident: {
        pread_1_thread: reading,
        mmap_2_threads: reading,
        random_4k_2_threads: reading,
        open_close: reading,
      },
    })
  })

  it('hydrates from a source and from a peer', { timeout: PART_MS_MAX }, async () => {
    expect(await quick('hydrate')).toMatchObject({
      hydrate: { copy: figure, source: figure, peer: figure, null: figure },
    })
  })

  it('loads a model from each place but the source', { timeout: PART_MS_MAX }, async () => {
    const { loads } = await quick('loads')
    expect(loads).toMatchObject({
      source: { copy_to_nominal: figure },
      bytes_beside_others: figure,
      tiers: { warmup: { warmup: figure }, peer: { peer: figure } },
      load: {
        standard: figure,
        warmup_to_standard: ratio,
        resident_to_standard: ratio,
        peer_to_standard: ratio,
        null_to_standard: ratio,
      },
      rclone: rcloneVersion() ?? 'not installed',
    })
    // Two cold loads, of which a piece of each file is compared with the source: 64 KiB of 4 MiB.
    const { model, bytes_beside_others: beside } = loads as Beside
    expect(beside / (2 * model.bytes)).toBeLessThan(0.02)
  })

  it('reads the source once for four cold instances', { timeout: PART_MS_MAX }, async () => {
    const { instances } = await quick('instances')
    const { warmpath_4: cold, plain_4: plain } = instances as Record<string, Together>
    expect(plain!.source_reads).toBe(4)
    expect(cold!.source_reads).toBeGreaterThanOrEqual(1)
    // The goal of the real run is 1.05; here one chunk of 68 MiB read twice is 0.06.
    expect(cold!.source_reads).toBeLessThanOrEqual(1.2)
  })

  it.runIf(hasSafetensors())(
    'loads the same tensors in Python from the mount',
    { timeout: PART_MS_MAX },
    async () => {
      // Wrong bytes would end it.
      expect(await quick('safetensors')).toMatchObject({
        safetensors: {
          tensors: 32,
          map_accelerated_to_source: ratio,
          read_accelerated_to_source: ratio,
        },
      })
    },
  )

  it('imitates a source that gives so many bytes a second, and counts them', async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-throttled-'))
    const site = new Site(4)
    try {
      const bytes = Buffer.alloc(20_000_000, 'x')
      writeFileSync(path.join(folder, 'a'), bytes)
      writeFileSync(path.join(folder, 'b'), 'small')
      const source = await site.throttled(folder, 50_000_000)
      const { seconds, size } = read('load', source.path, 2, 1)
      expect(size).toBe(bytes.length + 5)
      // All but the burst of 4 MiB takes its time; a busy machine may take more.
      expect(seconds).toBeGreaterThan(0.3)
      expect(await source.bytesRead()).toBe(size)
      expect(execFileSync('cat', [path.join(source.path, 'b')], { encoding: 'utf8' })).toBe('small')
      expect(execFileSync('ls', [source.path], { encoding: 'utf8' })).toBe('a\nb\n')
    } finally {
      await site.close()
      rmSync(folder, { recursive: true })
    }
  })
})

// Decode boundary: what a bench returns is plain data for printing.
interface Together {
  readonly source_reads: number
}
