/**
 * What a client says on a WebSocket: one JSON object a message.
 *
 *     /v1/responses         {"type":"response.create", …the body of the POST…, "stream_id":"plan"}
 *     /v1/chat/completions  {…the body of the POST…, "stream_id":"plan"}
 *     both                  {"type":"warmpath:resume","response_id":"resp_9","starting_after":41}
 *                           {"type":"warmpath:cancel","response_id":"resp_9"}
 *
 * The body for the node is the client's own bytes without the members that only concern the socket
 * and with `"stream":true`: a splice, as every edit of a request, so that numbers, order and
 * duplicates stay what they are. Nothing here knows sockets or lanes; a lane is just a name.
 */
import { OperatingError } from '../errors.ts'
import { type KeyName, keyId, VALUE_FALSE, VALUE_TRUE } from '../native/json_scan.ts'
import type { RequestBody } from '../prompt/body.ts'
import { readBody } from '../prompt/body.ts'
import { spliceMembers } from '../prompt/members.ts'

/** Characters of a lane's name. */
const LANE_CHARS_MAX = 256
/** Number of an event at most: logs count theirs in 32 bits. */
const EVENTS_MAX = 2 ** 31
const LANE = /^[A-Za-z0-9_.-]+$/

/** Which protocol an endpoint speaks. */
export type Dialect = 'responses' | 'chat'

/** Run this request; the bytes are the body of a POST. */
export interface CreateFrame {
  readonly kind: 'create'
  readonly lane: string | null
  readonly bytes: Buffer
  /** The client wants to be able to come back. */
  readonly isResumable: boolean
  /** The response that it continues. */
  readonly previousId: string | null
  /** `"generate": false`: the node prepares the prompt and says nothing. */
  readonly isWarmUp: boolean
}

/** Read this response from the event after that one on; -1 is before the first. */
export interface ResumeFrame {
  readonly kind: 'resume'
  readonly lane: string | null
  readonly responseId: string
  readonly startingAfter: number
}

/** End this response's work. */
export interface CancelFrame {
  readonly kind: 'cancel'
  readonly lane: string | null
  readonly responseId: string
}

export type ClientFrame =
  | CreateFrame
  | ResumeFrame
  | CancelFrame
  /** The lane is known, and what it is to do is not. */
  | { readonly kind: 'fault'; readonly lane: string | null; readonly error: OperatingError }
  /** Not even a lane is known: it is the answer to no turn. */
  | { readonly kind: 'noise'; readonly error: OperatingError }

const OWN_MEMBERS: readonly KeyName[] = [
  'type',
  'stream_id',
  'generate',
  'stream',
  'warmpath:resume',
]
const OWN_IDS: ReadonlySet<number> = new Set(OWN_MEMBERS.map(keyId))
const TYPE = keyId('type')
/** A node that is to prepare a prompt is asked for one token, which nobody sees. */
const WARM_UP_IDS: ReadonlySet<number> = new Set([...OWN_IDS, keyId('max_output_tokens')])
const GENERATE = keyId('generate')
const PREVIOUS = keyId('previous_response_id')
const RESPONSE_ID = keyId('response_id')
const STARTING_AFTER = keyId('starting_after')
const STREAM_ID = keyId('stream_id')
const STREAM = keyId('stream')
const BACKGROUND = keyId('background')
const RESUME = keyId('warmpath:resume')

function invalid(message: string, param: string | null): OperatingError {
  return new OperatingError('invalid_request', message, param)
}

/** The name of the lane: null for the default one; an error when it is no name. */
function readLane(body: RequestBody, outer: unknown): string | null | OperatingError {
  if (body.find(STREAM_ID) === -1 && outer === null) return null
  const name = outer ?? body.value(STREAM_ID)
  if (typeof name === 'string' && name.length <= LANE_CHARS_MAX && LANE.test(name)) return name
  const message = `stream_id must be 1 to ${LANE_CHARS_MAX} of A-Z, a-z, 0-9, "_", "." and "-"`
  return new OperatingError('invalid_stream_id', message, 'stream_id')
}

function createFault(body: RequestBody, dialect: Dialect): OperatingError | null {
  if (dialect === 'chat') {
    if (!body.has(STREAM) || body.isStream) return null
    return invalid('a WebSocket always streams: leave out "stream" or send true', 'stream')
  }
  for (const [id, param] of [[STREAM, 'stream'] as const, [BACKGROUND, 'background'] as const]) {
    if (body.has(id)) return invalid(`leave out "${param}": it has no meaning here`, param)
  }
  return null
}

/** Frames about a response that there is already. */
function readReturn(body: RequestBody, lane: string | null, type: string): ClientFrame {
  const responseId = body.value(RESPONSE_ID)
  if (typeof responseId !== 'string' || responseId === '') {
    const error = invalid('response_id must be the id of a response', 'response_id')
    return { kind: 'fault', lane, error }
  }
  if (type === 'warmpath:cancel') return { kind: 'cancel', lane, responseId }
  const startingAfter = body.value(STARTING_AFTER) ?? -1
  const isNumber = typeof startingAfter === 'number' && Number.isInteger(startingAfter)
  if (!isNumber || startingAfter < -1 || startingAfter > EVENTS_MAX) {
    const error = invalid('starting_after must be the number of an event', 'starting_after')
    return { kind: 'fault', lane, error }
  }
  return { kind: 'resume', lane, responseId, startingAfter }
}

/**
 * Reads one message, whose bytes must stay as they are for as long as the frame is used. `outer`
 * is a lane's name that came beside the message (msgpack), else null.
 */
export function readClientFrame(
  message: Buffer,
  dialect: Dialect,
  outer: unknown = null,
): ClientFrame {
  const body = readBody(message)
  if (body instanceof OperatingError) return { kind: 'noise', error: body }
  const lane = readLane(body, outer)
  if (lane instanceof OperatingError) return { kind: 'noise', error: lane }
  const type = body.value(TYPE)
  if (type === 'warmpath:resume' || type === 'warmpath:cancel') return readReturn(body, lane, type)
  const isCreate = dialect === 'chat' ? type === null : type === 'response.create'
  if (!isCreate) {
    const said = typeof type === 'string' ? `"${type.slice(0, LANE_CHARS_MAX)}"` : 'no type'
    const wanted = dialect === 'chat' ? 'a chat completion request' : '"response.create"'
    return { kind: 'fault', lane, error: invalid(`expected ${wanted}, not ${said}`, 'type') }
  }
  const error = createFault(body, dialect)
  if (error !== null) return { kind: 'fault', lane, error }
  const isResumable = body.typeOf(RESUME) === VALUE_TRUE
  const isWarmUp = dialect === 'responses' && body.typeOf(GENERATE) === VALUE_FALSE
  const bytes = isWarmUp
    ? spliceMembers(body, WARM_UP_IDS, '"max_output_tokens":1')
    : spliceMembers(body, OWN_IDS, '"stream":true')
  const previous = body.value(PREVIOUS)
  const previousId = typeof previous === 'string' ? previous : null
  return { kind: 'create', lane, bytes, isResumable, previousId, isWarmUp }
}
