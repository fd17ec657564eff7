import { describe, expect, it } from 'vitest'
import { readBenchOptions } from '../../bench/options.ts'
import { run } from '../../bench/prompt.ts'

describe('the bench of prompt keys', () => {
  it('reports a figure for every way that a prompt can take', async () => {
    const result = await run(readBenchOptions(['--quick']))
    const figures = Object.entries(result).filter(([name]) => name !== 'tokenizer')
    expect(figures.map(([name]) => name)).toContain('warmTurnMs')
    for (const [name, value] of figures) expect([name, Number(value) > 0]).toEqual([name, true])
  })
})
