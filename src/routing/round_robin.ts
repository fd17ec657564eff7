/**
 * Each candidate in turn, blind to load and cache: the yardstick for the others. The first turn is
 * drawn, so that several gateway threads do not march in step. The turn counts decisions of all
 * models together: with several models the order is fair on average, not strict.
 */
import type { Policy } from './policy.ts'

/** The turn wraps here so that it stays a small integer for ever. */
const TURNS_MAX = 2 ** 30

export function createRoundRobin(): Policy {
  let turn = -1
  return {
    name: 'round-robin',
    choose(_candidates, count, random) {
      turn = turn < 0 ? Math.floor(random() * count) : (turn + 1) % TURNS_MAX
      return turn % count
    },
  }
}
