/**
 * What a client says on a WebSocket: one JSON object a message.
 *
 *     /v1/responses         {"type":"response.create", …the body of the POST…, "stream_id":"plan"}
 *     /v1/chat/completions  {…the body of the POST…, "stream_id":"plan"}
 *
 * The body for the node is the client's own bytes without the members that only concern the socket
 * and with `"stream":true`: a splice, as every edit of a request, so that numbers, order and
 * duplicates stay what they are. Nothing here knows sockets or lanes; a lane is just a name.
 */
import { OperatingError } from '../errors.ts'
import { type KeyName, keyId, VALUE_TRUE } from '../native/json_scan.ts'
import type { RequestBody } from '../prompt/body.ts'
import { readBody } from '../prompt/body.ts'
import { spliceMembers } from '../prompt/members.ts'

/** Characters of a lane's name. */
const LANE_CHARS_MAX = 256
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
}

export type ClientFrame =
  | CreateFrame
  /** The frame cannot be understood; the lane, where it is known. */
  | { readonly kind: 'fault'; readonly lane: string | null; readonly error: OperatingError }

const OWN_MEMBERS: readonly KeyName[] = [
  'type',
  'stream_id',
  'generate',
  'stream',
  'warmpath:resume',
]
const OWN_IDS: ReadonlySet<number> = new Set(OWN_MEMBERS.map(keyId))
const TYPE = keyId('type')
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
  if (body instanceof OperatingError) return { kind: 'fault', lane: null, error: body }
  const lane = readLane(body, outer)
  if (lane instanceof OperatingError) return { kind: 'fault', lane: null, error: lane }
  const type = body.value(TYPE)
  const isCreate = dialect === 'chat' ? type === null : type === 'response.create'
  if (!isCreate) {
    const said = typeof type === 'string' ? `"${type.slice(0, LANE_CHARS_MAX)}"` : 'no type'
    const wanted = dialect === 'chat' ? 'a chat completion request' : '"response.create"'
    return { kind: 'fault', lane, error: invalid(`expected ${wanted}, not ${said}`, 'type') }
  }
  const error = createFault(body, dialect)
  if (error !== null) return { kind: 'fault', lane, error }
  const isResumable = body.typeOf(RESUME) === VALUE_TRUE
  const bytes = spliceMembers(body, OWN_IDS, '"stream":true')
  return { kind: 'create', lane, bytes, isResumable }
}
