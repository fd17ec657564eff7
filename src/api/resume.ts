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
import { expired, notFound, RESPONSE_PREFIX, StoredResponse } from './stored_response.ts'

/** Characters of an id; longer ones were never given. */
const ID_CHARS_MAX = 64

/** The position after the first `events` events of a log; beyond the end of a finished one its end. */
export function positionAfter(log: LogSnapshot, events: number): number | OperatingError {
  const position = log.positionAfter(events)
  if (position >= 0) return position
  if (log.isCut) return expired()
  return log.isEnded ? log.bytes : new OperatingError('invalid_request', 'no such event yet')
}

/** Why a log that was found cannot be followed. */
export function refusedAs(refused: RefusedReader | null, id: string): OperatingError | null {
  if (refused === 'unknown') return notFound(id)
  if (refused === 'expired') return expired()
  return refused === 'full' ? new OperatingError('slow_down', 'too many readers') : null
}

/** The log of a resumable chat completion. */
export function takeChat(logs: LogOwner, tenant: number, id: string): LogSnapshot | null {
  const isId = id.startsWith(RESUME_PREFIX) && id.length <= ID_CHARS_MAX
  const name = isId ? logs.find(tenant, id) : null
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

/** Finds any response by its id and lets `join` follow it after its first `events` events. */
export function resumeAfter(
  logs: LogOwner,
  tenant: number,
  id: string,
  events: number,
  join: (name: LogName, position: number) => RefusedReader | null,
): OperatingError | null {
  const follow = (name: LogName, log: LogSnapshot): OperatingError | null => {
    const position = positionAfter(log, events)
    return position instanceof OperatingError ? position : refusedAs(join(name, position), id)
  }
  if (id.startsWith(RESPONSE_PREFIX)) {
    return StoredResponse.with(
      logs,
      tenant,
      id,
      stored => streamFault(stored) ?? follow(stored.name, stored.log),
    )
  }
  const log = takeChat(logs, tenant, id)
  if (log === null) return notFound(id)
  const error = follow(log.name, log)
  log.release()
  return error
}
