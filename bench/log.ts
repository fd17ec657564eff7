/**
 * What the log costs: nanoseconds per append with one reader that keeps up, beside handing the
 * chunk on without a log, and per whole response.
 *
 *   npm run bench -- log [--quick] [--rounds N]
 *
 * `direct` calls the reader's onBytes with the chunk, which is what a relay without a log does;
 * `direct_again` is the same code, so its ratio to `direct` is the noise floor. Every cell hands
 * on the same bytes and must count the same bytes and events. What it cannot show: the cost of
 * caches that a real relay, with its sockets in between, has cold.
 */
import { LOG_PRIVATE, nativeLog } from '../src/native/response_log.ts'
import type { LogEnd, LogHead, LogMode, LogReader } from '../src/responses/log_reader.ts'
import { ResponseLog } from '../src/responses/response_log.ts'
import type { BenchOptions, BenchResult } from './options.ts'
import { median, rounded, runRounds } from './rounds.ts'

const HEAD: LogHead = { status: 200, headers: { 'content-type': 'text/event-stream' } }
const COMPLETE: LogEnd = { kind: 'complete' }
const KEPT_BYTES_MAX = 2 ** 30
const LAG_BYTES_MAX = 2 ** 20

/** Appends of one cell: enough for some 50 ms, and below what a kept log may hold. */
const APPENDS = { small: 200_000, large: 40_000, responses: 30_000 }
const QUICK_DIVISOR = 100

const upstream = { pause: () => {}, resume: () => {}, abandoned: () => {}, stopped: () => {} }

/** Counts what it is given, so that no contestant can leave bytes out. */
class Counter implements LogReader {
  bytes = 0
  wholeBytes = 0
  onHead(): void {}
  onBytes(chunk: Uint8Array, wholeEnd: number): boolean {
    this.bytes += chunk.length
    this.wholeBytes += wholeEnd
    return true
  }
  onEnd(): void {}
}

/** One event of `size` bytes. */
function eventOf(size: number): Uint8Array {
  return Buffer.from(`data: ${'x'.repeat(size - 8)}\n\n`)
}

function openLog(mode: LogMode): ResponseLog {
  return new ResponseLog({
    kind: 'sse',
    mode,
    tenant: 0,
    bytesMax: KEPT_BYTES_MAX,
    lagBytesMax: LAG_BYTES_MAX,
    upstream,
  })
}

type Cell = (chunk: Uint8Array, count: number, reader: Counter) => void

function throughLog(mode: LogMode): Cell {
  return (chunk, count, reader) => {
    const log = openLog(mode)
    log.attach(reader)
    log.head(HEAD)
    for (let i = 0; i < count; i++) log.append(chunk)
    log.end(COMPLETE)
    log.close()
  }
}

function direct(chunk: Uint8Array, count: number, reader: Counter): void {
  for (let i = 0; i < count; i++) reader.onBytes(chunk, chunk.length)
}

/** The native call alone, without the readers: what the seam and the scan cost. */
function scanOnly(chunk: Uint8Array, count: number, reader: Counter): void {
  const name = new Uint32Array(2)
  nativeLog.logOpen(0, 0, 0, LOG_PRIVATE, KEPT_BYTES_MAX, LAG_BYTES_MAX, name)
  const [slot = 0, generation = 0] = name
  for (let i = 0; i < count; i++) nativeLog.logAppend(slot, generation, chunk)
  nativeLog.logRelease(slot, generation)
  reader.bytes += chunk.length * count
  reader.wholeBytes += chunk.length * count
}

/** A whole response of one chunk: open, attach, head, append, end, close. */
function wholeResponses(chunk: Uint8Array, count: number, reader: Counter): void {
  for (let i = 0; i < count; i++) {
    const log = openLog('window')
    log.attach(reader)
    log.head(HEAD)
    log.append(chunk)
    log.end(COMPLETE)
    log.close()
  }
}

const CELLS: Readonly<Record<string, Cell>> = {
  direct,
  direct_again: direct,
  native_call: scanOnly,
  window: throughLog('window'),
  kept: throughLog('kept'),
}

function time(cell: Cell, size: number, count: number): number {
  const reader = new Counter()
  const chunk = eventOf(size)
  const started = process.hrtime.bigint()
  cell(chunk, count, reader)
  const ns = Number(process.hrtime.bigint() - started) / count
  if (reader.bytes !== size * count || reader.wholeBytes !== size * count) {
    throw new Error(`a reader got ${reader.bytes} bytes of ${size * count}`)
  }
  return ns
}

async function measure(
  cells: Readonly<Record<string, Cell>>,
  size: number,
  count: number,
  rounds: number,
): Promise<Record<string, number>> {
  const ns = await runRounds(Object.keys(cells), rounds + 1, async name => {
    const cell = cells[name]
    if (cell === undefined) throw new Error(`no cell is called ${name}`)
    return time(cell, size, count)
  })
  // The first round warms the code up.
  return Object.fromEntries(
    [...ns].map(([name, values]) => [name, rounded(median(values.slice(1)))]),
  )
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const rounds = options.rounds ?? (options.isQuick ? 1 : 9)
  const divisor = options.isQuick ? QUICK_DIVISOR : 1
  const small = await measure(CELLS, 200, APPENDS.small / divisor, rounds)
  const large = await measure(CELLS, 16_384, APPENDS.large / divisor, rounds)
  const responses = { whole_response: wholeResponses }
  const whole = await measure(responses, 200, APPENDS.responses / divisor, rounds)
  return {
    unit: 'ns',
    rounds,
    append_200_bytes: small,
    append_16_kib: large,
    response_of_one_chunk: whole.whole_response,
  }
}
