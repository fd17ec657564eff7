/**
 * Interleaved rounds: every contestant gets one cell a round, in an order in which it has another
 * place and another predecessor each time, so that drift of the machine falls on all, and so does
 * what a cell leaves behind for the next one, such as a core that it has left alone.
 * Ratios are taken inside a round and only then summarised:
 *
 *     round      0     1     2
 *     gateway   110   130   105
 *     baseline  100   125   100      ratios 1.10 1.04 1.05: median 1.05, spread 1.04 to 1.10
 */

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

/**
 * The order of a round: a row of a Williams square (E. J. Williams, Australian Journal of
 * Scientific Research A 2, 1949), in which over `count` rounds each contestant has each place once
 * and follows each other one once. An odd count takes twice as many rounds, every second reversed.
 *
 *     count 4:   0 3 1 2 · 1 0 2 3 · 2 1 3 0 · 3 2 0 1
 */
export function orderOfRound(count: number, round: number): number[] {
  const row = Array.from({ length: count }, (_, place) => {
    const step = place % 2 === 0 ? place / 2 : count - (place + 1) / 2
    return (step + round) % count
  })
  return count % 2 === 1 && round % 2 === 1 ? row.toReversed() : row
}

/** Runs `cell` for every name in each round; returns the cells of each name in round order. */
export async function runRounds<T>(
  names: readonly string[],
  rounds: number,
  cell: (name: string, round: number) => Promise<T>,
): Promise<Map<string, T[]>> {
  const cells = new Map<string, T[]>(names.map(name => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const index of orderOfRound(names.length, round)) {
      const name = names[index] ?? ''
      // One after the other on purpose: contestants never share the machine.
      cells.get(name)?.push(await cell(name, round))
    }
  }
  return cells
}

export interface Ratio {
  readonly ratio: number
  readonly low: number
  readonly high: number
  /** Rounds in which the contestant was cheaper than the base. */
  readonly won: number
}

/** Paired ratios of the same rounds. */
export function pairedRatio(contestant: readonly number[], base: readonly number[]): Ratio {
  const ratios = contestant.map((value, round) => value / (base[round] ?? Number.NaN))
  return {
    ratio: rounded(median(ratios)),
    low: rounded(Math.min(...ratios)),
    high: rounded(Math.max(...ratios)),
    won: ratios.filter(ratio => ratio < 1).length,
  }
}

/** Four significant digits: no figure of a shared machine is better than that. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4))
}
