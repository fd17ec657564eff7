/**
 * The printed run: one line a fact, with its figures, and whether all of them held.
 *
 *     ok      node found by its URL alone: 127.0.0.1:8201 blocks of 32 tokens, KV events live
 *     FAILED  predictions are exact: 1 of 240 differ: …
 */

/** Longest fact: an engine that is started again takes up to 400 s. */
const FACT_MS_MAX = 600_000

export class Report {
  #failures = 0
  #facts = 0
  #section = ''

  get failures(): number {
    return this.#failures
  }

  section(name: string): void {
    this.#section = name
    process.stdout.write(`\n## ${name}\n`)
  }

  note(text: string): void {
    process.stdout.write(`        ${text}\n`)
  }

  /** Checks one fact; what it returns are the figures, what it throws is why not. */
  async fact(name: string, run: () => string | Promise<string>): Promise<void> {
    this.#facts++
    try {
      const figures = await Promise.race([run(), overdue(FACT_MS_MAX)])
      process.stdout.write(`ok      ${name}${figures === '' ? '' : `: ${figures}`}\n`)
    } catch (error) {
      this.#failures++
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
      process.stdout.write(`FAILED  ${name} (${this.#section}): ${why}\n`)
    }
  }

  /** The last line; the exit code of the run. */
  end(seconds: number): number {
    const held = this.#facts - this.#failures
    process.stdout.write(`\n${held} of ${this.#facts} facts hold (${Math.round(seconds)} s)\n`)
    return this.#failures === 0 ? 0 : 1
  }
}

/** Fails after a time; what still waits then is left behind. */
function overdue(ms: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`not over after ${ms / 1000} s`)), ms)
  })
}

/** Ends the check of a fact with its reason. */
export function check(condition: boolean, why: string | (() => string)): asserts condition {
  if (!condition) throw new Error(typeof why === 'string' ? why : why())
}
