import { existsSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { ROOT } from '../../bench/machine.ts'
import { run } from '../../bench/start.ts'
import { missing } from '../../bench/targets.ts'

const isBuilt = existsSync(path.join(ROOT, 'build/Release/mock_node'))

test.runIf(isBuilt && missing('warmpath') === null)(
  'the start bench times each process to its first answer',
  async () => {
    const silence = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const result = await run({ isQuick: true, rounds: null, seconds: null, words: [] })
    silence.mockRestore()
    const names = ['node', 'baseline', 'baseline_null', 'warmpath']
    expect(Object.keys(result.start_ms)).toEqual(names)
    for (const name of names) expect(result.start_ms[name]).toBeGreaterThan(1)
    expect(result.to_baseline['baseline']?.ratio).toBe(1)
  },
  60_000,
)
