/**
 * One thread's side of the logs: those that it owns and others may read, and its readers of other
 * threads' logs. The thread hands it the mail that is about logs.
 *
 *   publish(log, id)                     id --directory--> name      find(tenant, id)
 *   follow(name, tenant, reader, from)   own log: the reader is attached to it and called inside
 *                                        append; another thread's: a remote reader, woken by mail
 *
 * Only logs with an owner are here. A private log (nobody but its own thread knows it) is never
 * registered, so the common request pays nothing for this.
 */
import {
  MAIL_CANCEL,
  MAIL_LOG_ADVANCED,
  MAIL_LOST,
  MAIL_RESUME_UPSTREAM,
  MAIL_STOP,
} from '../native/mailbox.ts'
import {
  DIRECTORY_ID_BYTES_MAX,
  LOG_ENDED,
  LOG_UNKNOWN,
  nativeLog,
} from '../native/response_log.ts'
import type { LogReader } from './log_reader.ts'
import { type RefusedReader, RemoteReader } from './remote_reader.ts'
import type { ResponseLog } from './response_log.ts'

/** The name of a log; it outlives the log and then finds nothing. */
export interface LogName {
  readonly slot: number
  readonly generation: number
}

/** A reader that follows a log, wherever the log lives. */
export interface Following {
  ready(): void
  detach(): void
}

/** Begins to read a certain log at a certain place; says why where that is not possible. */
export type Follow = (reader: LogReader) => Following | RefusedReader

const encoder = new TextEncoder()
const found = new Uint32Array(2)

/** null: no log can have such an id. */
function encodeId(id: string): Uint8Array | null {
  // A character has a byte at least: what a client sends is not encoded for being too long.
  if (id.length === 0 || id.length > DIRECTORY_ID_BYTES_MAX) return null
  const bytes = encoder.encode(id)
  return bytes.length > DIRECTORY_ID_BYTES_MAX ? null : bytes
}

export class LogOwner {
  readonly threadId: number
  /** By slot; a slot has one live log. */
  readonly #logs = new Map<number, ResponseLog>()
  readonly #readers = new Map<number, RemoteReader>()
  #nextToken = 0

  constructor(threadId: number) {
    this.threadId = threadId
  }

  add(log: ResponseLog): void {
    this.#logs.set(log.slot, log)
  }

  remove(log: ResponseLog): void {
    if (this.#logs.get(log.slot) === log) this.#logs.delete(log.slot)
  }

  /** Logs that this thread owns, and its readers of other logs. */
  get counts(): { logs: number; remoteReaders: number } {
    return { logs: this.#logs.size, remoteReaders: this.#readers.size }
  }

  /** One message; true when it was about logs. `MAIL_LOST` concerns the caller as well. */
  onMail(kind: number, a: number, b: number, _c: number): boolean {
    switch (kind) {
      case MAIL_LOG_ADVANCED:
        this.#readers.get(a)?.advanced()
        return true
      case MAIL_CANCEL:
      case MAIL_STOP:
      case MAIL_RESUME_UPSTREAM: {
        const log = this.#logs.get(a)
        if (log !== undefined && log.generation === b) log.reconsider(kind === MAIL_CANCEL)
        return true
      }
      case MAIL_LOST:
        for (const reader of Array.from(this.#readers.values())) reader.advanced()
        for (const log of Array.from(this.#logs.values())) log.reconsider(false)
        return false
      default:
        return false
    }
  }

  /** Makes a log findable by an id; false when the id is in use. */
  publish(name: LogName, id: string): boolean {
    const bytes = encodeId(id)
    if (bytes === null) throw new TypeError(`an id has 1 to ${DIRECTORY_ID_BYTES_MAX} bytes`)
    return nativeLog.logPublish(name.slot, name.generation, bytes)
  }

  /**
   * The log of an id, for its own tenant; anybody else's is as unknown as one that never was. Ids
   * are the clients' own words here: whatever was never given is unknown as well.
   */
  find(tenant: number, id: string): LogName | null {
    const bytes = encodeId(id)
    if (bytes === null || !nativeLog.logFind(tenant, bytes, found)) return null
    return { slot: found[0] ?? 0, generation: found[1] ?? 0 }
  }

  /** Whether an id of this tenant named a log that was dropped; remembered for a bounded number. */
  isGone(tenant: number, id: string): boolean {
    const bytes = encodeId(id)
    return bytes !== null && nativeLog.logIsGone(tenant, bytes)
  }

  /**
   * Follows a log from a position, on whatever thread it lives. The reader hears at once what is
   * there, so of a finished log its end may come before this returns.
   */
  follow(
    name: LogName,
    tenant: number,
    reader: LogReader,
    position: number,
  ): Following | RefusedReader {
    const log = this.#logs.get(name.slot)
    if (log === undefined || log.generation !== name.generation) {
      return this.#followRemote(name, tenant, reader, position)
    }
    if (log.tenant !== tenant) return 'unknown'
    if (!log.attach(reader, position)) return 'expired'
    return { ready: () => log.ready(reader), detach: () => log.detach(reader) }
  }

  /**
   * Asks for the work behind a log to end, on whatever thread it runs. The log then ends as its
   * exchange ends it, some turns later; asking again changes nothing.
   */
  stop(name: LogName, tenant: number): 'stopping' | 'ended' | 'unknown' {
    const status = nativeLog.logStop(name.slot, name.generation, tenant)
    if ((status & LOG_UNKNOWN) !== 0) return 'unknown'
    return (status & LOG_ENDED) !== 0 ? 'ended' : 'stopping'
  }

  /** Leaves all logs of other threads; the thread is about to end. */
  close(): void {
    for (const reader of Array.from(this.#readers.values())) reader.detach()
  }

  #followRemote(
    name: LogName,
    tenant: number,
    reader: LogReader,
    position: number,
  ): Following | RefusedReader {
    this.#nextToken = (this.#nextToken + 1) >>> 0
    const token = this.#nextToken
    const remote = new RemoteReader(name, reader, () => this.#readers.delete(token))
    const refused = remote.attach(tenant, this.threadId, token, position)
    if (refused !== null) return refused
    this.#readers.set(token, remote)
    remote.advanced()
    return remote
  }
}
