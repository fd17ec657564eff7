import { beforeEach, describe, expect, test, vi } from 'vitest'
import { run } from '../../bench/reuse.ts'
import { missing } from '../../bench/targets.ts'

beforeEach(() => {
  const silence = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  return () => silence.mockRestore()
})

describe.runIf(missing('warmpath') === null)('the reuse bench', () => {
  test('prefix routing reuses what an infinite cache would, round robin does not', async () => {
    const words = ['--policies', 'prefix,round-robin']
    const result = await run({ isQuick: true, rounds: null, seconds: null, words })
    const [prefix, turns] = result.policies
    expect(result.infinite.cached_tokens).toBeGreaterThan(0)
    expect(prefix?.prompt_tokens).toBe(result.infinite.prompt_tokens)
    expect(prefix?.share_of_infinite).toBeGreaterThan(turns?.share_of_infinite ?? 1)
    expect(prefix?.share_of_infinite).toBeGreaterThanOrEqual(result.share_min)
  }, 60_000)
})
