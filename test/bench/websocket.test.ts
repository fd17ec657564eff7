import { existsSync } from 'node:fs'
import path from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ROOT } from '../../bench/machine.ts'
import { missing } from '../../bench/targets.ts'
import { run } from '../../bench/websocket.ts'

const isBuilt = existsSync(path.join(ROOT, 'build/Release/mock_node'))

beforeEach(() => {
  const silence = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  return () => silence.mockRestore()
})

describe('the websocket bench', () => {
  test.runIf(isBuilt && missing('warmpath') === null)(
    'a tiny run sees the same streams over SSE, text frames and msgpack, and no fault',
    async () => {
      const words = ['--no-pin']
      const result = await run({ isQuick: true, rounds: 1, seconds: 0.1, words })
      expect(result.faults).toEqual([])
      expect(Object.keys(result.figures)).toEqual(['one_token', 'bulk', 'paced'])
      for (const figures of Object.values(result.figures)) {
        expect(Object.keys(figures)).toEqual(['sse', 'ws', 'msgpack', 'sse_null'])
        for (const figure of Object.values(figures)) {
          expect(figure.cpu_us_per_token).toBeGreaterThan(0)
          expect(figure.transit_p50_ms).toBeGreaterThan(0)
        }
      }
      expect(result.idle.sockets).toBe(50)
    },
    120_000,
  )
})
