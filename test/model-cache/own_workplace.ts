/**
 * A workplace for each test of the file that calls `useWorkplace`. The names below are bindings of
 * this module, so what a file imports is always the workplace of the test that runs.
 */
import path from 'node:path'
import { afterEach, beforeEach, vi } from 'vitest'
import { Workplace } from './workplace.ts'

export let place: Workplace
export let source = ''
export let fast = ''

export function useWorkplace(): void {
  // Each test starts several processes of Node, which takes long on a machine that is busy.
  vi.setConfig({ testTimeout: 120_000 })
  beforeEach(() => {
    place = new Workplace()
    ;({ source, fast } = place)
  })
  afterEach(() => place.close())
}

/** Path of a file behind the accelerated path. */
export function inFast(name: string): string {
  return path.join(fast, name)
}
