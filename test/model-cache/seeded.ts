/** Seeded choices for random tests: a failure prints the seed, and the seed repeats the choices. */
export const SEED = Number(process.env['WARMPATH_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Mulberry32: small, seeded, good enough to choose operations. */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs a test and says its seed when it fails. */
export async function seeded(run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    process.stderr.write(`\nWARMPATH_TEST_SEED=${SEED} repeats this run\n`)
    throw error
  }
}
