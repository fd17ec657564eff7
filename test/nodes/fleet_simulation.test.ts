import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { healthSchema } from '../../src/nodes/config.ts'
import { Simulation, type SimulationOptions } from './fleet_simulation.ts'

const SOUND: SimulationOptions = {
  timings: healthSchema.parse({}),
  clientErrorAs: 'ok',
  hasTraffic: true,
}
const SEEDS = 8
const DURATION_MS = 60_000

async function violationsOf(seed: number, options: SimulationOptions): Promise<string[]> {
  const simulation = new Simulation(seed, options)
  await simulation.run(DURATION_MS)
  return simulation.violations.map(violation => `seed ${seed}, ${violation}`)
}

/** Seeds out of a few that see the fault. */
async function seenBy(options: Partial<SimulationOptions>): Promise<number> {
  let seen = 0
  for (let seed = 1; seed <= 3; seed++) {
    if ((await violationsOf(seed, { ...SOUND, ...options })).length > 0) seen++
  }
  return seen
}

describe('a fleet of misbehaving nodes', () => {
  test('answering nodes are back in 2 s, dead ones are out, slots are freed once', async () => {
    const first = Number(process.env['FLEET_SEED'] ?? randomInt(1_000_000))
    for (let seed = first; seed < first + SEEDS; seed++) {
      expect(await violationsOf(seed, SOUND)).toEqual([])
      expect(await violationsOf(seed, { ...SOUND, hasTraffic: false })).toEqual([])
    }
  }, 120_000)

  test('the simulation does meet outages, restarts and freed slots', async () => {
    const simulation = new Simulation(7, SOUND)
    await simulation.run(DURATION_MS)
    expect(simulation.outs).toBeGreaterThan(10)
    expect(simulation.freed.length).toBeGreaterThan(0)
    expect(simulation.viewCount).toBeGreaterThan(50)
  })

  test('the checker sees a breaker that pauses too long', async () => {
    const timings = healthSchema.parse({ breaker_pause_ms: 4000 })
    expect(await seenBy({ timings })).toBe(3)
  })

  test('the checker sees a node that hangs and is kept', async () => {
    const timings = healthSchema.parse({ timeouts_max: 50 })
    expect(await seenBy({ timings, hasTraffic: false })).toBe(3)
  })

  test('the checker sees client errors that count against a node', async () => {
    expect(await seenBy({ clientErrorAs: 'status5xx' })).toBe(3)
  })

  test('the checker sees restarts that are noticed late', async () => {
    expect(await seenBy({ timings: healthSchema.parse({ scrape_interval_ms: 20_000 }) })).toBe(3)
  })
})
