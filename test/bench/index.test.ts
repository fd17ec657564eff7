/** The bench of the index in its tiny version: it must run, and all sides must answer the same. */
import { describe, expect, it } from 'vitest'
import { run } from '../../bench/index.ts'
import { readBenchOptions } from '../../bench/options.ts'

describe.runIf(process.platform === 'linux')('bench index', () => {
  it('replays one trace through the flat map and the index, with the same answers', async () => {
    const result = await run(readBenchOptions(['--quick']))
    const figure = expect.any(Number)
    const churn = expect.objectContaining({
      index_mops: figure,
      flat_mops: figure,
      live_bytes_per_held: figure,
      same_answers: true,
    })
    expect(result).toMatchObject({
      trace: 'made up',
      churn: [churn, churn],
      with_tokens: churn,
      lookup: { same_answers: true },
      napi: { match_767_blocks_ns: figure },
    })
  })
})
