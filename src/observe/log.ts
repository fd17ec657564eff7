/**
 * The structured log: JSON lines by pino, from every thread of the process into one destination.
 *
 * Every thread has a sink of its own (line_sink.ts), which hands the kernel whole lines, so lines
 * of two threads are never mixed. A gateway thread gathers lines, the main thread writes at once.
 * `flush()` before the thread ends, else the last lines are lost.
 *
 * Cost: the line of an exchange takes about 2 µs, because it is put together by hand
 * (exchange_log.ts); one of pino with as many fields 5 µs, one below the level some nanoseconds.
 */
import { pino } from 'pino'
import type { LogConfig, LogLevel } from './config.ts'
import {
  LineSink,
  LOG_BATCH_SHARE,
  openDestination,
  systemWrite,
  writeBytesMax,
} from './line_sink.ts'

/** Characters of one field that came from outside, so that a line stays below a write. */
export const LOG_FIELD_CHARS_MAX = 256

/** What a room needs of the log. Messages are constant text; what varies is in the fields. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** The log of one thread with the reins in hand: for the code that owns the thread. */
export interface ThreadLog extends Log {
  readonly level: LogLevel
  setLevel(level: LogLevel): void
  /** Whether lines of level info are written at all. */
  readonly takesInfo: boolean
  /** A line of level info whose fields are JSON text already, `"name":value,…`. */
  infoText(fields: string, message: string): void
  /** Resolves when everything logged so far has been handed to the kernel. */
  flush(): Promise<void>
}

export interface LogOptions {
  readonly config: LogConfig
  /** Name of the thread, on every line. */
  readonly thread: string
  /** Gather lines (gateway threads) or write each at once (main). */
  readonly isBatched: boolean
  /** Called for lines that the destination did not take. */
  readonly onDrop?: () => void
}

/** A field that came from outside: printable ASCII, cut at LOG_FIELD_CHARS_MAX. */
export function logText(value: string): string {
  const cut = value.length > LOG_FIELD_CHARS_MAX ? value.slice(0, LOG_FIELD_CHARS_MAX) : value
  return /^[\x20-\x7e]*$/.test(cut) ? cut : cut.replaceAll(/[^\x20-\x7e]/g, '?')
}

class PinoLog implements ThreadLog {
  readonly #logger: pino.Logger
  readonly #sink: LineSink
  #level: LogLevel
  /** Begin of a line of level info, made anew every millisecond. */
  #head = ''
  #timeMs = 0
  readonly #thread: string

  constructor(options: LogOptions) {
    const { config, thread, isBatched } = options
    this.#level = config.level
    this.#thread = `,"thread":${JSON.stringify(thread)}`
    const fd = openDestination(config.destination)
    const writeBytes = writeBytesMax(fd)
    this.#sink = new LineSink(
      fd,
      isBatched ? writeBytes * LOG_BATCH_SHARE : 0,
      options.onDrop ?? (() => {}),
      systemWrite,
      writeBytes,
    )
    this.#logger = pino(
      {
        level: config.level,
        base: { thread },
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: label => ({ level: label }) },
      },
      this.#sink,
    )
  }

  get level(): LogLevel {
    return this.#level
  }

  setLevel(level: LogLevel): void {
    this.#level = level
    this.#logger.level = level
  }

  debug(fields: object, message: string): void {
    this.#logger.debug(fields, message)
  }

  info(fields: object, message: string): void {
    this.#logger.info(fields, message)
  }

  warn(fields: object, message: string): void {
    this.#logger.warn(fields, message)
  }

  error(fields: object, message: string): void {
    this.#logger.error(fields, message)
  }

  get takesInfo(): boolean {
    return this.#logger.isLevelEnabled('info')
  }

  infoText(fields: string, message: string): void {
    const now = Date.now()
    if (now !== this.#timeMs) {
      this.#timeMs = now
      this.#head = `{"level":"info","time":"${new Date(now).toISOString()}"${this.#thread}`
    }
    this.#sink.writeAscii(`${this.#head},${fields},"msg":"${message}"}\n`)
  }

  flush(): Promise<void> {
    return this.#sink.flush()
  }
}

/** Opens the log of the calling thread. */
export function openLog(options: LogOptions): ThreadLog {
  return new PinoLog(options)
}
