/** The bench of the log in its tiny version: it must run, and count the same bytes on all sides. */
import { describe, expect, it } from 'vitest'
import { run } from '../../bench/log.ts'
import { readBenchOptions } from '../../bench/options.ts'

describe('bench log', () => {
  it('gives a figure for every way of handing on a chunk', async () => {
    const result = await run(readBenchOptions(['--quick']))
    const figure = expect.any(Number)
    const row = {
      direct: figure,
      direct_again: figure,
      native_call: figure,
      window: figure,
      kept: figure,
    }
    expect(result).toEqual({
      unit: 'ns',
      rounds: 1,
      append_200_bytes: row,
      append_16_kib: row,
      response_of_one_chunk: figure,
    })
  })
})
