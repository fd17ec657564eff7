/**
 * What a stored response has become, from any thread: the answers of GET, DELETE, cancel and
 * input_items. An id that is unknown and one of another tenant get the same answer.
 *
 *   log                                    the object that is shown
 *   no head yet                            our own, `queued` (background) or `in_progress`
 *   events, the last one terminal          the one in it
 *   events, running                        the one in `response.created`
 *   a whole body                           that body
 *   ended by what is no response           our own, `failed`
 *   the head of an error (background)      our own, `failed`
 *
 * What was said counts, not the end of the node's stream: a client that has read the last byte asks
 * for the next turn at once, on another thread maybe, and the end comes a moment after that byte.
 */
import { OperatingError } from '../errors.ts'
import { keyId } from '../native/json_scan.ts'
import { nativeLog } from '../native/response_log.ts'
import type { RequestBody } from '../prompt/body.ts'
import type { LogName, LogOwner } from '../responses/log_owner.ts'
import { isEventStream, type LogHead } from '../responses/log_reader.ts'
import { LogSnapshot } from '../responses/log_snapshot.ts'
import { replaceValues, scanObject } from './json_object.ts'
import { dataOf, responseIn } from './response_events.ts'
import { decodeNote, type ResponseNote } from './response_note.ts'

/** Prefix of the ids of responses. */
export const RESPONSE_PREFIX = 'resp_'

/** Bytes of a `[DONE]` with spaces and line ends; longer data is not looked at for it. */
const DONE_BYTES_MAX = 16

const STATUS = keyId('status')
/** Of a response that goes on. */
const RUNNING = new Set<unknown>(['queued', 'in_progress'])

export function notFound(id: string): OperatingError {
  return new OperatingError('response_not_found', `Response with id '${id}' not found.`, 'id')
}

export function expired(): OperatingError {
  const message = 'the response was too large to be kept, or its time is over'
  return new OperatingError('warmpath:stream_expired', message, 'id')
}

/**
 * What is said of an id that names no log: it did once, for this tenant, or it never did. Digests
 * of requests are found in the same place; an id has a prefix.
 */
export function absent(logs: LogOwner, tenant: number, id: string): OperatingError {
  return id.includes('_') && logs.isGone(tenant, id) ? expired() : notFound(id)
}

export class StoredResponse {
  readonly id: string
  readonly name: LogName
  readonly log: LogSnapshot
  readonly note: ResponseNote

  readonly #tenant: number

  private constructor(id: string, tenant: number, log: LogSnapshot, note: ResponseNote) {
    this.id = id
    this.#tenant = tenant
    this.name = log.name
    this.log = log
    this.note = note
  }

  /** Runs `use` with the response of an id; the log stays as long as that takes. */
  static with<T>(
    logs: LogOwner,
    tenant: number,
    id: string,
    use: (stored: StoredResponse) => T,
  ): T | OperatingError {
    const name = id.startsWith(RESPONSE_PREFIX) ? logs.find(tenant, id) : null
    const log = name === null ? null : LogSnapshot.take(name)
    if (log === null) return absent(logs, tenant, id)
    try {
      const note = decodeNote(log.note())
      return note === null ? notFound(id) : use(new StoredResponse(id, tenant, log, note))
    } finally {
      log.release()
    }
  }

  get isBackground(): boolean {
    return this.note.base['background'] === true
  }

  /** The response object as JSON text. */
  json(): string | OperatingError {
    const head = this.log.head()
    if (head === null) return this.#own(this.isBackground ? 'queued' : 'in_progress')
    if (this.log.isCut) return expired()
    if (head.status >= 400) return this.#failed(this.#refusal())
    const object = this.#object(head)
    if (object !== null) return this.#shown(object)
    if (!this.log.isEnded) return this.#own('in_progress')
    return this.#failed('the node answered with something else than a response')
  }

  /** The finished response's own object; null while it runs, or where it failed. */
  finished(): RequestBody | null {
    const head = this.log.head()
    if (this.log.isCut || head === null || head.status >= 400) return null
    const object = this.#object(head)
    return object === null || RUNNING.has(object.value(STATUS)) ? null : object
  }

  /** Nobody finds it any more; what still runs ends. */
  delete(logs: LogOwner): string {
    logs.stop(this.name, this.#tenant)
    nativeLog.logDiscard(this.name.slot, this.name.generation)
    return JSON.stringify({ id: this.id, object: 'response', deleted: true })
  }

  #object(head: LogHead): RequestBody | null {
    if (!isEventStream(head)) return scanObject(this.log.bytesFrom(0))
    const last = responseIn(this.#lastEvent())
    return last !== null || this.log.isEnded ? last : responseIn(this.log.event(0))
  }

  /** The last event that says something; some nodes send `[DONE]` behind it. */
  #lastEvent(): Buffer | null {
    for (let index = this.log.events - 1; index >= 0; index--) {
      const event = this.log.event(index)
      const data = event === null ? null : dataOf(event)
      if (data !== null && !isDone(data)) return event
    }
    return null
  }

  /** What the node could not know is put into its object: what it was not told. */
  #shown(object: RequestBody): string {
    const { background, previous_response_id: previous } = this.note.base
    return replaceValues(object, {
      background: JSON.stringify(background),
      previous_response_id: JSON.stringify(previous),
    }).toString('utf8')
  }

  #own(status: string): string {
    return JSON.stringify({ ...this.note.base, status })
  }

  #failed(message: string): string {
    const error = { code: 'server_error', message }
    return JSON.stringify({ ...this.note.base, status: 'failed', error })
  }

  /** What a node, or the gateway, said in the place of a response. */
  #refusal(): string {
    const text = this.log.bytesFrom(0).toString('utf8')
    try {
      // Decode boundary: an error body of a node or of ours; anything else is shown as it is.
      const decoded = JSON.parse(text) as { error?: { message?: unknown } | string }
      const { error } = decoded
      if (typeof error === 'object' && typeof error.message === 'string') return error.message
    } catch {
      // Not JSON: the text says what there is to say.
    }
    return text
  }
}

function isDone(data: Buffer): boolean {
  return data.length < DONE_BYTES_MAX && data.toString('latin1').trim() === '[DONE]'
}
