import { describe, expect, test } from 'vitest'
import { healthSchema } from '../../src/nodes/config.ts'
import type { OutcomeKind } from '../../src/nodes/fleet_view.ts'
import { NodeHealth, TRIAL_MS } from '../../src/nodes/health.ts'

const TIMINGS = healthSchema.parse({ failures_max: 3, timeouts_max: 2, breaker_pause_ms: 1500 })

function healthyNode(): NodeHealth {
  const health = new NodeHealth(TIMINGS)
  health.checked('alive')
  return health
}

function report(health: NodeHealth, kinds: readonly OutcomeKind[], nowMs = 0): void {
  for (const kind of kinds) health.exchanged(kind, nowMs)
}

describe('NodeHealth', () => {
  test('a new node is no candidate before it has answered a check', () => {
    const health = new NodeHealth(TIMINGS)
    expect(health.isCandidate).toBe(false)
    health.checked('refused')
    expect(health.state.kind).toBe('starting')
    health.checked('alive')
    expect(health.state.kind).toBe('healthy')
  })

  test('one refused connection takes a node out, one answered check brings it back', () => {
    const health = healthyNode()
    expect(health.exchanged('refused', 0)).toBe(true)
    expect(health.state.kind).toBe('down')
    expect(health.wasRefused).toBe(true)
    health.checked('alive')
    expect(health.state.kind).toBe('healthy')
    expect(health.wasRefused).toBe(false)
  })

  test('a 5xx of /health takes a node out: its engine is dead', () => {
    const health = healthyNode()
    health.checked('broken')
    expect(health.state.kind).toBe('down')
    expect(health.wasRefused).toBe(false)
  })

  test('one check without an answer is forgiven, the second in a row is not', () => {
    const health = healthyNode()
    health.checked('silent')
    expect(health.isCandidate).toBe(true)
    health.checked('alive')
    health.checked('silent')
    expect(health.isCandidate).toBe(true)
    health.checked('silent')
    expect(health.state.kind).toBe('down')
  })

  test('a silent check together with a failed exchange is enough, in either order', () => {
    const first = healthyNode()
    first.checked('silent')
    first.exchanged('timeout', 0)
    expect(first.state.kind).toBe('down')
    const second = healthyNode()
    second.exchanged('reset', 0)
    second.checked('silent')
    expect(second.state.kind).toBe('down')
  })

  test('failures in a row open the breaker, a success in between starts the row anew', () => {
    const health = healthyNode()
    report(health, ['status5xx', 'reset', 'ok', 'timeout', 'status5xx'])
    expect(health.state.kind).toBe('healthy')
    report(health, ['reset'], 100)
    expect(health.state).toEqual({ kind: 'open', untilMs: 1600 })
    expect(health.isCandidate).toBe(false)
  })

  test('answered checks do not hide an engine that fails every request', () => {
    const health = healthyNode()
    for (let i = 0; i < 3; i++) {
      health.exchanged('status5xx', 0)
      health.checked('alive')
    }
    expect(health.state.kind).toBe('open')
    health.checked('alive')
    expect(health.state.kind).toBe('open')
  })

  test('after the pause a trial: a success closes the breaker, a failure opens it again', () => {
    const health = healthyNode()
    report(health, ['status5xx', 'status5xx', 'status5xx'])
    health.elapsed(1499)
    expect(health.state.kind).toBe('open')
    health.elapsed(1500)
    expect(health.state.kind).toBe('trial')
    expect(health.isCandidate).toBe(true)
    health.exchanged('status5xx', 1600)
    expect(health.state).toEqual({ kind: 'open', untilMs: 3100 })
    health.elapsed(3100)
    health.exchanged('ok', 3200)
    expect(health.state.kind).toBe('healthy')
    report(health, ['status5xx', 'status5xx'], 3300)
    expect(health.state.kind).toBe('healthy')
  })

  test('a trial without news ends, but one more failure opens the breaker again', () => {
    const health = healthyNode()
    report(health, ['status5xx', 'status5xx', 'status5xx'])
    health.elapsed(1500)
    expect(health.dueMs).toBe(1500 + TRIAL_MS)
    health.elapsed(1500 + TRIAL_MS)
    expect(health.state.kind).toBe('healthy')
    health.exchanged('status5xx', 9000)
    expect(health.state.kind).toBe('open')
  })

  test('any number of client errors and full queues, reported as ok, never counts', () => {
    const health = healthyNode()
    report(health, Array<OutcomeKind>(10_000).fill('ok'))
    expect(health.state.kind).toBe('healthy')
  })

  test('a refused check ends an open breaker and a trial', () => {
    for (const atMs of [0, 1500]) {
      const health = healthyNode()
      report(health, ['status5xx', 'status5xx', 'status5xx'])
      health.elapsed(atMs)
      health.checked('refused')
      expect(health.state.kind).toBe('down')
      expect(health.dueMs).toBeNull()
    }
  })

  test('a replaced process starts with a closed breaker, but must answer by itself', () => {
    const health = healthyNode()
    report(health, ['status5xx', 'status5xx', 'status5xx'])
    health.replaced()
    expect(health.state.kind).toBe('healthy')
    health.checked('silent')
    health.replaced()
    health.checked('silent')
    expect(health.state.kind).toBe('down')
    health.replaced()
    expect(health.state.kind).toBe('down')
  })
})
