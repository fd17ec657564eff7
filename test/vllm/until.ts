/** Milliseconds between two looks; an engine's own step takes longer. */
const LOOK_MS = 10

/** Looks again and again until there is something; the only way in which this suite waits. */
export function until<T>(
  look: () => T | null | Promise<T | null>,
  what: string,
  limitMs = 30_000,
): Promise<T> {
  const startedMs = performance.now()
  return new Promise((resolve, reject) => {
    const again = (): void => {
      Promise.resolve()
        .then(look)
        .then(found => {
          if (found !== null) return resolve(found)
          if (performance.now() - startedMs > limitMs) {
            return reject(new Error(`waited ${limitMs} ms in vain for ${what}`))
          }
          setTimeout(again, LOOK_MS)
        })
        .catch(reject)
    }
    again()
  })
}

/** Milliseconds until a condition holds. */
export async function msUntil(
  look: () => boolean | Promise<boolean>,
  what: string,
  limitMs = 30_000,
): Promise<number> {
  const startedMs = performance.now()
  await until(async () => ((await look()) ? true : null), what, limitMs)
  return performance.now() - startedMs
}

/** Value in the middle, for figures of a shared machine. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
