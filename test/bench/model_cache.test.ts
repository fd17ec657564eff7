/** The bench of the model cache in its tiny version: it must run, and all paths read the same. */
import { describe, expect, it } from 'vitest'
import { run } from '../../bench/model_cache.ts'
import { readBenchOptions } from '../../bench/options.ts'
import { canMount } from '../model-cache/privileges.ts'

describe.runIf(canMount)('bench model-cache', () => {
  it('reads a resident file on every path, with the same checksums', async () => {
    const result = await run(readBenchOptions(['--quick']))
    const figure = expect.any(Number)
    const reading = { native: figure, accelerated: figure, null: figure }
    expect(result).toMatchObject({
      rounds: 1,
      resident: {
        pread_1_thread: reading,
        mmap_2_threads: reading,
        random_4k_2_threads: reading,
        open_close: reading,
      },
      hydrate: { copy: figure, source: figure, peer: figure, null: figure },
    })
  })
})
