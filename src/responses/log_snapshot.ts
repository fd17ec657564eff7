/**
 * A log as it stands at one moment, read from any thread without following it: for those who ask
 * what a stored response has become. It holds a reference, so that the log stays until `release`.
 */
import {
  FACT_BASE_HIGH,
  FACT_BASE_LOW,
  FACT_BYTES_HIGH,
  FACT_BYTES_LOW,
  FACT_EVENTS_TOTAL,
  FACT_SIZE,
  FACT_STATUS,
  FACT_WORDS,
  LOG_ENDED,
  LOG_HEAD_BYTES_MAX,
  nativeLog,
} from '../native/response_log.ts'
import { decodeHead } from './log_codec.ts'
import type { LogName } from './log_owner.ts'
import type { LogHead } from './log_reader.ts'

const WORD = 2 ** 32
const facts = new Uint32Array(FACT_WORDS)
const fact = (index: number): number => facts[index] ?? 0

export class LogSnapshot {
  readonly name: LogName
  readonly isEnded: boolean
  /** It was too large, or memory ran out: its beginning has gone. */
  readonly isCut: boolean
  readonly events: number
  readonly bytes: number

  private constructor(name: LogName) {
    nativeLog.logStat(name.slot, name.generation, facts)
    this.name = name
    this.isEnded = (fact(FACT_STATUS) & LOG_ENDED) !== 0
    this.events = fact(FACT_EVENTS_TOTAL)
    this.bytes = fact(FACT_BYTES_HIGH) * WORD + fact(FACT_BYTES_LOW)
    this.isCut = fact(FACT_BASE_HIGH) * WORD + fact(FACT_BASE_LOW) > 0
  }

  /** null: there is no such log any more. */
  static take(name: LogName): LogSnapshot | null {
    return nativeLog.logRetain(name.slot, name.generation) ? new LogSnapshot(name) : null
  }

  release(): void {
    nativeLog.logRelease(this.name.slot, this.name.generation)
  }

  head(): LogHead | null {
    const out = new Uint8Array(LOG_HEAD_BYTES_MAX)
    const length = nativeLog.logHead(this.name.slot, this.name.generation, out)
    return length === 0 ? null : decodeHead(out.subarray(0, length))
  }

  /** What the owner left beside the log; empty when it left nothing. */
  note(): Buffer {
    const { slot, generation } = this.name
    return readAll((position, out) => nativeLog.logReadNote(slot, generation, position, out))
  }

  /** Position just after the given number of events, or -1 where it is not stored. */
  positionAfter(events: number): number {
    return nativeLog.logPositionAfter(this.name.slot, this.name.generation, events)
  }

  /** Bytes from a position to the end of what is there. */
  bytesFrom(start: number): Buffer {
    const { slot, generation } = this.name
    return readAll((position, out) => {
      nativeLog.logReadAt(slot, generation, start + position, out, facts)
      return fact(FACT_SIZE)
    })
  }

  /** Text of one event, counted from 0; null where it is not stored. */
  event(index: number): Buffer | null {
    const start = this.positionAfter(index)
    const end = this.positionAfter(index + 1)
    if (start < 0 || end < 0) return null
    const bytes = Buffer.alloc(end - start)
    nativeLog.logReadAt(this.name.slot, this.name.generation, start, bytes, facts)
    return fact(FACT_SIZE) === bytes.length ? bytes : null
  }
}

/** Reads pieces until nothing more comes. */
function readAll(read: (position: number, out: Uint8Array) => number): Buffer {
  const pieces: Buffer[] = []
  let position = 0
  for (;;) {
    const piece = Buffer.alloc(LOG_HEAD_BYTES_MAX)
    const size = read(position, piece)
    if (size === 0) return Buffer.concat(pieces)
    pieces.push(piece.subarray(0, size))
    position += size
  }
}
