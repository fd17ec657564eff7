import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { run } from '../../bench/relay.ts'
import { median, orderOfRound, pairedRatio, runRounds } from '../../bench/rounds.ts'
import { missing } from '../../bench/targets.ts'
import {
  checkAborts,
  checkBackpressure,
  checkBytes,
  checkRefusal,
  withRig,
} from './baseline_checks.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const isBuilt = existsSync(path.join(ROOT, 'build/Release/mock_node'))

beforeAll(() => {
  // The baseline runs as a process of its own, and Node 20 loads no TypeScript.
  execFileSync('npx', ['tsc', '-p', 'tsconfig.tools.json'], { cwd: ROOT, stdio: 'pipe' })
})

beforeEach(() => {
  // The tables are for people.
  const silence = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  return () => silence.mockRestore()
})

describe.runIf(isBuilt)('the relay bench', () => {
  test('a tiny run yields every figure and no fault', async () => {
    const words = ['--quick', '--no-pin', '--seconds', '0.05']
    const result = await run({ isQuick: true, rounds: 1, seconds: 0.05, words })
    expect(result.faults).toEqual([])
    const expected =
      missing('warmpath') === null
        ? ['baseline', 'baseline_null', 'baseline_coalesced', 'warmpath']
        : ['baseline', 'baseline_null', 'baseline_coalesced']
    for (const name of [
      'cpu_us_per_short_request',
      'cpu_us_per_one_token_stream',
      'cpu_us_per_token_bulk',
      'cpu_us_per_token_paced',
      'transit_p99_ms_paced',
      'requests_per_s',
      'cpu_us_per_request_conversation',
    ]) {
      const figure = result.figures.find(known => known.name === name)
      for (const target of expected) {
        expect(figure?.values[target], `${name} of ${target}`).toBeGreaterThan(0)
      }
    }
    expect(Object.keys(result.added_latency_c1)).toContain('direct')
  }, 120_000)
})

describe.runIf(isBuilt)('the baseline relay', () => {
  describe.each([[[]], [['--coalesce']], [['--log']]])('with %j', flags => {
    test('relays every byte, query and status', async () => {
      await withRig(flags, checkBytes)
    })

    test('a client that does not read stops the node', async () => {
      await withRig(flags, checkBackpressure)
    })

    test('a dying node breaks the stream, a leaving client aborts the node', async () => {
      await withRig(flags, checkAborts)
    })
  })

  test('a node that refuses is a 502', checkRefusal)
})

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, 1 + (counts.get(key) ?? 0))
}

describe('interleaved rounds', () => {
  test('every target has a cell a round', async () => {
    const order: string[] = []
    await runRounds(['a', 'b', 'c', 'd'], 2, async (name, round) => {
      order.push(`${name}${round}`)
    })
    expect(order.join(' ')).toBe('a0 d0 b0 c0 b1 a1 c1 d1')
  })

  test.each([1, 2, 3, 4, 5, 6, 7])('%i targets follow each other equally often', count => {
    const rounds = count % 2 === 0 ? count : 2 * count
    const places = new Map<string, number>()
    const pairs = new Map<string, number>()
    for (let round = 0; round < rounds; round++) {
      const order = orderOfRound(count, round)
      for (const [place, index] of order.entries()) {
        add(places, `${index} at ${place}`)
        if (place > 0) add(pairs, `${order[place - 1]} ${index}`)
      }
    }
    expect(places.size).toBe(count * count)
    expect(new Set(places.values())).toEqual(new Set([rounds / count]))
    expect(pairs.size).toBe(count * (count - 1))
    expect(new Set(pairs.values()).size).toBeLessThanOrEqual(1)
  })

  test('ratios are paired inside a round', () => {
    const ratio = pairedRatio([110, 130, 105], [100, 125, 100])
    expect(ratio).toEqual({ ratio: 1.05, low: 1.04, high: 1.1, won: 0 })
    expect(median([3, 1, 2, 10])).toBe(2.5)
    expect(median([])).toBeNaN()
  })
})
