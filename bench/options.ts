/** What every bench of `bench/run.ts` is given; the face is `run(options)`. */
export interface BenchOptions {
  /** A tiny version that only shows that everything still works; its figures mean nothing. */
  readonly isQuick: boolean
  /** Interleaved rounds; null: the bench's own default. */
  readonly rounds: number | null
  /** Seconds of one cell; null: the bench's own default. */
  readonly seconds: number | null
  /** All words behind the bench's name, for options of its own (`option`, `flag`). */
  readonly words: readonly string[]
}

/** What a bench returns: plain data, printed as the last line together with the machine. */
export type BenchResult = Readonly<Record<string, unknown>>

/** Value of `--name value` among the words, or null. */
export function option(words: readonly string[], name: string): string | null {
  const at = words.indexOf(`--${name}`)
  const value = words[at + 1]
  if (at < 0) return null
  if (value === undefined) throw new TypeError(`--${name} needs a value`)
  return value
}

export function flag(words: readonly string[], name: string): boolean {
  return words.includes(`--${name}`)
}

/** A positive number given as `--name value`, or null. */
export function numberOption(words: readonly string[], name: string): number | null {
  const text = option(words, name)
  if (text === null) return null
  const value = Number(text)
  if (!(value > 0)) throw new TypeError(`--${name} must be a number above 0, not ${text}`)
  return value
}

export function readBenchOptions(words: readonly string[]): BenchOptions {
  return {
    isQuick: flag(words, 'quick'),
    rounds: numberOption(words, 'rounds'),
    seconds: numberOption(words, 'seconds'),
    words,
  }
}
