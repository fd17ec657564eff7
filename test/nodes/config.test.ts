import { describe, expect, test } from 'vitest'
import {
  healthSchema,
  IN_FLIGHT_DEFAULT,
  nodeEntrySchema,
  nodeIdOf,
  nodesSchema,
  originOf,
} from '../../src/nodes/config.ts'

describe('the nodes section', () => {
  test('a URL is enough', () => {
    const entry = nodeEntrySchema.parse({ url: 'http://10.0.0.1:8000' })
    expect(entry).toEqual({ url: 'http://10.0.0.1:8000', in_flight_max: IN_FLIGHT_DEFAULT })
    expect(nodesSchema.parse(undefined)).toEqual([])
  })

  test('an address that is no origin is refused with the remedy', () => {
    const bad = [
      'http://10.0.0.1:8000/v1',
      '10.0.0.1:8000',
      'tcp://10.0.0.1:8000',
      'http://user@10.0.0.1:8000',
      'http://10.0.0.1:8000/?x=1',
      '',
    ]
    for (const url of bad) {
      const parsed = nodeEntrySchema.safeParse({ url })
      expect(parsed.error?.issues[0]?.message).toMatch(/must be the origin of a node/)
    }
  })

  test('unknown keys, wrong endpoints and impossible limits are refused', () => {
    const url = 'http://10.0.0.1:8000'
    const bad = [
      { url, kvevents: 'x' },
      { url, kv_events: '10.0.0.1:5557' },
      { url, in_flight_max: 0 },
      { url, in_flight_max: 1.5 },
      { url, api_key: '' },
    ]
    for (const entry of bad) expect(nodeEntrySchema.safeParse(entry).success).toBe(false)
    for (const kv_events of ['tcp://10.0.0.1:5557', 'ipc:///run/kv', 'none']) {
      expect(nodeEntrySchema.safeParse({ url, kv_events }).success).toBe(true)
    }
  })

  test('the id is host and port, that of the scheme where none is named', () => {
    expect(nodeIdOf('http://10.0.0.1:8000/')).toBe('10.0.0.1:8000')
    expect(nodeIdOf('http://gpu-1')).toBe('gpu-1:80')
    expect(nodeIdOf('https://gpu-1')).toBe('gpu-1:443')
    expect(nodeIdOf('http://[::1]:8000')).toBe('[::1]:8000')
    expect(originOf('http://GPU-1:80/')).toBe('http://gpu-1')
  })
})

describe('the health section', () => {
  test('the defaults let a recovered node back within 2 s', () => {
    const health = healthSchema.parse(undefined)
    expect(health).toEqual(healthSchema.parse({}))
    expect(health.breaker_pause_ms).toBeLessThan(2000)
    expect(health.unhealthy_interval_ms + health.timeout_ms).toBeLessThan(2000)
    expect(healthSchema.safeParse({ interval_ms: 0 }).success).toBe(false)
    expect(healthSchema.safeParse({ intervalMs: 10 }).success).toBe(false)
  })
})
