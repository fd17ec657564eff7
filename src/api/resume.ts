/**
 * Where a client goes on reading a response that it comes back to, and why it cannot.
 *
 *     events 0 … 41 seen ──► position just after event 41 ──► follow the log from there
 */
import { OperatingError } from '../errors.ts'
import type { LogName, LogOwner } from '../responses/log_owner.ts'
import { LogSnapshot } from '../responses/log_snapshot.ts'
import type { RefusedReader } from '../responses/remote_reader.ts'
import { RESUME_PREFIX } from './plan.ts'
import { numberOf } from './response_events.ts'
import { absent, expired, notFound, RESPONSE_PREFIX, StoredResponse } from './stored_response.ts'

/** Where reading begins: at a position, and behind some events that have not come yet. */
export interface Start {
  readonly position: number
  readonly skipped: number
}

/**
 * The start after the first `events` events of a log. Of a finished one that has fewer it is the
 * end; of one that runs it is ahead, so that the client gets what it asked for once it has come.
 */
export function startAfter(log: LogSnapshot, events: number): Start | OperatingError {
  const position = log.positionAfter(events)
  if (position >= 0) return { position, skipped: 0 }
  if (log.isCut) return expired()
  if (log.isEnded) return { position: log.bytes, skipped: 0 }
  const latest = log.positionAfter(log.events)
  // It has turned into a window meanwhile.
  return latest < 0 ? expired() : { position: latest, skipped: events - log.events }
}

/**
 * How many events of a response's log a client has seen that says the number of the last one. A
 * node's comments between events are counted by the log and have no number, so that there may be
 * more of them than numbers.
 */
export function eventsUpTo(log: LogSnapshot, last: number): number {
  for (let events = last + 1; events > 0 && events <= log.events; events++) {
    const number = numberOf(log.event(events - 1))
    // What has another form than that of a response is counted as the log counts it.
    if (number === 'other') return last + 1
    if (number !== 'comment' && number >= last) return number === last ? events : events - 1
  }
  return last + 1
}

/** Why a log that was found cannot be followed. */
export function refusedAs(refused: RefusedReader | null, id: string): OperatingError | null {
  if (refused === 'unknown') return notFound(id)
  if (refused === 'expired') return expired()
  return refused === 'full' ? new OperatingError('slow_down', 'too many readers') : null
}

/** The log of a resumable chat completion. */
export function takeChat(logs: LogOwner, tenant: number, id: string): LogSnapshot | null {
  const name = id.startsWith(RESUME_PREFIX) ? logs.find(tenant, id) : null
  return name === null ? null : LogSnapshot.take(name)
}

/**
 * A response that was not asked as a stream has no events to go on with; it is refused as OpenAI's
 * API refuses it, also while it runs.
 */
export function streamFault({ log, note }: StoredResponse): OperatingError | null {
  const head = log.head()
  const type = head?.headers['content-type']
  const isJson = typeof type === 'string' && type.startsWith('application/json')
  if (head === null ? note.isStream : !isJson) return null
  const why = note.isStream
    ? 'it failed before its first event'
    : 'it was not created with stream=true or background=true'
  const message = `This response cannot be streamed because ${why}.`
  return new OperatingError('invalid_request', message, 'stream')
}

/** Finds any response by its id and lets `join` follow it after the event with that number. */
export function resumeAfter(
  logs: LogOwner,
  tenant: number,
  id: string,
  last: number,
  join: (name: LogName, start: Start) => RefusedReader | null,
): OperatingError | null {
  const follow = (log: LogSnapshot, events: number): OperatingError | null => {
    const start = startAfter(log, events)
    return start instanceof OperatingError ? start : refusedAs(join(log.name, start), id)
  }
  if (id.startsWith(RESPONSE_PREFIX)) {
    return StoredResponse.with(
      logs,
      tenant,
      id,
      stored => streamFault(stored) ?? follow(stored.log, eventsUpTo(stored.log, last)),
    )
  }
  const log = takeChat(logs, tenant, id)
  if (log === null) return absent(logs, tenant, id)
  const error = follow(log, last + 1)
  log.release()
  return error
}
