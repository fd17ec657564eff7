/**
 * How far a run is. On a terminal one line is drawn over and over; elsewhere each run prints one
 * line when it begins. Colour only on a terminal, and not with NO_COLOR.
 *
 *     c=8  ██████████░░░░░░░░░░  51%   412 requests   41.2/s   0 failed
 */
import type { Progress } from './load_run.ts'
import type { Settings } from './options.ts'

/** Least time between two drawings: below it the terminal would cost more than the requests. */
const DRAW_MS = 100
const BAR_CELLS = 20

export interface Terminal {
  readonly isTerminal: boolean
  readonly hasColour: boolean
  write(text: string): void
}

export function terminalOf(
  stream: NodeJS.WriteStream,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const isTerminal = stream.isTTY
  const hasColour = isTerminal && (env['NO_COLOR'] ?? '') === ''
  return { isTerminal, hasColour, write: text => void stream.write(text) }
}

export class ProgressLine {
  readonly #terminal: Terminal
  readonly #settings: Settings
  #drawnMs = Number.NEGATIVE_INFINITY

  constructor(terminal: Terminal, settings: Settings) {
    this.#terminal = terminal
    this.#settings = settings
  }

  begin(concurrency: number): void {
    const { requests, durationMs } = this.#settings
    const length = requests === null ? `${(durationMs ?? 0) / 1000} s` : `${requests} requests`
    if (!this.#terminal.isTerminal) {
      this.#terminal.write(`concurrency ${concurrency}: ${length}\n`)
    }
    this.#drawnMs = Number.NEGATIVE_INFINITY
  }

  show(progress: Progress): void {
    if (!this.#terminal.isTerminal || progress.elapsedMs - this.#drawnMs < DRAW_MS) return
    this.#drawnMs = progress.elapsedMs
    this.#terminal.write(`\r\x1b[2K${this.#line(progress)}`)
  }

  end(): void {
    if (this.#terminal.isTerminal) this.#terminal.write('\r\x1b[2K')
  }

  #line({ concurrency, finished, failed, elapsedMs }: Progress): string {
    const { requests, durationMs } = this.#settings
    const share = requests === null ? elapsedMs / (durationMs ?? 1) : finished / requests
    const done = Math.min(BAR_CELLS, Math.floor(share * BAR_CELLS))
    const bar = this.#colour(32, '█'.repeat(done)) + '░'.repeat(BAR_CELLS - done)
    const percent = `${Math.min(100, Math.floor(share * 100))}%`.padStart(4)
    const rate = (finished / (elapsedMs / 1000)).toFixed(1)
    const failures = failed > 0 ? this.#colour(31, `${failed} failed`) : '0 failed'
    return `c=${concurrency}  ${bar} ${percent}  ${finished} requests  ${rate}/s  ${failures}`
  }

  #colour(code: number, text: string): string {
    return this.#terminal.hasColour ? `\x1b[${code}m${text}\x1b[0m` : text
  }
}
