import { existsSync } from 'node:fs'
import path from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ROOT } from '../../bench/machine.ts'
import { run, slope } from '../../bench/soak.ts'
import { missing } from '../../bench/targets.ts'

const isBuilt = existsSync(path.join(ROOT, 'build/Release/mock_node'))

beforeEach(() => {
  const silence = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  return () => silence.mockRestore()
})

describe('the soak bench', () => {
  test('the slope is that of the line through the points', () => {
    const points = [1, 2, 3, 4].map(i => ({ requests: i * 1e6, rssMb: 100 + i * 7 }))
    expect(slope(points)).toBeCloseTo(7)
    expect(slope([{ requests: 5, rssMb: 1 }])).toBe(0)
  })

  test.runIf(isBuilt && missing('warmpath') === null)(
    'a tiny run reads memory after each step and sees no fault',
    async () => {
      const words = ['--no-pin']
      const result = await run({ isQuick: true, rounds: null, seconds: null, words })
      expect(result.faults).toEqual([])
      expect(result.growth).toHaveLength(1)
      expect(result.growth[0]?.rss_mb).toHaveLength(20)
      expect(result.growth[0]?.rss_idle_mb).toBeGreaterThan(10)
    },
    60_000,
  )
})
