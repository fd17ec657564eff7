/**
 * POST /v1/responses: how a response is stored, continued and run in the background by the
 * gateway, on nodes that keep nothing themselves. All edits are splices on the client's bytes:
 *
 *   {"input":"and then?","previous_response_id":"resp_1","background":true}
 *   {"input":[{…},{…},{"role":"user","content":"and then?"}],"previous_response_id":null,
 *    "background":false,"stream":true,"request_id":"resp_2"}
 *
 * - `previous_response_id` of a stored response: its input and output are put in front of the
 *   client's input, so that any node can take the turn and the router finds its prefix.
 * - `request_id` makes the node use our id, so that not a byte of its answer needs to change.
 * - A background response is always asked as a stream: then it can be polled and followed.
 */
import { OperatingError } from '../errors.ts'
import type { Keeping } from '../exchange/keeping.ts'
import { keyId, VALUE_FALSE, VALUE_NULL, VALUE_STRING, VALUE_TRUE } from '../native/json_scan.ts'
import { EDITS } from '../observe/metrics/labels.ts'
import { type RequestBody, readBody } from '../prompt/body.ts'
import { appendMember, joinInsides, replaceValues, scanObject } from './json_object.ts'
import type { Memory, Plan, Planner, Wishes } from './plan.ts'
import { planPrivate, RESPONSE_ID_HEADER } from './plan.ts'
import type { IncomingRequest } from './relay.ts'
import { readRequest } from './relay.ts'
import { closingOf } from './response_events.ts'
import { encodeNote, inputItems, outputItems, ownObject } from './response_note.ts'
import { RESPONSE_PREFIX, StoredResponse } from './stored_response.ts'

const BACKGROUND = keyId('background')
const STORE = keyId('store')
const STREAM = keyId('stream')
const PREVIOUS = keyId('previous_response_id')
const CONVERSATION_EDIT = EDITS.indexOf('conversation')
const BACKGROUND_EDIT = EDITS.indexOf('background')
const RESPONSE_ID_EDIT = EDITS.indexOf('response_id')

/** Said of a background response: it does not outlive the process. */
const IN_MEMORY = ['x-warmpath-durability', 'memory'] as const

export function planResponse(
  incoming: IncomingRequest,
  wishes: Wishes,
  planner: Planner,
): Plan | OperatingError {
  const asked = readBody(incoming.bytes)
  if (asked instanceof OperatingError) return asked
  const isBackground = asked.typeOf(BACKGROUND) === VALUE_TRUE
  const isStored = asked.typeOf(STORE) !== VALUE_FALSE
  if (isBackground && !isStored) {
    const message = 'background can only be used when `store` is true'
    return new OperatingError('invalid_request', message, 'background')
  }
  const own = inputItems(asked)
  if (own === null && (isBackground || asked.has(PREVIOUS))) {
    // Without items the request would pass as it is, with an id that is nobody's at its node.
    return new OperatingError('invalid_request', "'input' must be a string or an array", 'input')
  }
  const items = own && wholeInput(asked, own, incoming.tenant.id, planner, wishes.memory)
  if (items instanceof OperatingError) return items
  const bytes = editedBytes(asked, items, isBackground, planner)
  const request = readRequest({ ...incoming, bytes }, planner.rules, planner.editCounts)
  if (request instanceof OperatingError) return request
  // Without an input there is nothing to keep: the node says what is wrong.
  const { memory } = wishes
  if (items === null || (!isStored && !wishes.isResumable && memory === undefined)) {
    return planPrivate(request, wishes, planner)
  }
  const id = RESPONSE_PREFIX + planner.newId()
  count(planner, RESPONSE_ID_EDIT)
  const isStream = asked.isStream || isBackground
  const base = ownObject(asked, id, isBackground, planner.wallMs())
  const keeping: Keeping = {
    ids: idsOf(id, isStored, wishes),
    kind: isStream ? 'sse' : 'json',
    onLeft: isBackground ? 'continue' : wishes.isResumable ? 'grace' : 'cancel',
    retentionMs: retentionOf(isStored, wishes, planner),
    note: encodeNote(isStream, base, items),
    closing: closingOf(base, isStream),
  }
  return {
    request: { ...request, bytes: appendMember(request.bytes, `"request_id":"${id}"`) },
    keeping,
    shareKey: null,
    headers: [[RESPONSE_ID_HEADER, id], ...(isBackground ? [IN_MEMORY] : [])],
    now: isBackground && !asked.isStream ? base : null,
    isNumbered: false,
    responseId: id,
  }
}

/** What a response is found by: its id where it is stored or may be resumed, and the memory's. */
function idsOf(id: string, isStored: boolean, { isResumable, memory }: Wishes): string[] {
  const open = isStored || isResumable ? [id] : []
  return memory === undefined || isStored ? open : [...open, memory.keyOf(id)]
}

function retentionOf(isStored: boolean, { isResumable, memory }: Wishes, planner: Planner): number {
  if (isStored) return planner.retentionMs
  return Math.max(isResumable ? planner.resumeMs : 0, memory?.retentionMs ?? 0)
}

/** The items of the input, those of the conversation that it continues in front. */
function wholeInput(
  asked: RequestBody,
  own: Buffer,
  tenant: number,
  planner: Planner,
  memory: Memory | undefined,
): Buffer | OperatingError {
  const type = asked.typeOf(PREVIOUS)
  if (type === VALUE_NULL) return own
  if (type !== VALUE_STRING) {
    const message = "'previous_response_id' must be a string"
    return new OperatingError('invalid_request', message, 'previous_response_id')
  }
  const id = String(asked.value(PREVIOUS))
  const remembered = memory && conversationOf(planner, tenant, memory.keyOf(id))
  const before = remembered ?? conversationOf(planner, tenant, id)
  if (before === null) {
    const message = `Previous response with id '${id}' not found.`
    return new OperatingError('previous_response_not_found', message, 'previous_response_id')
  }
  count(planner, CONVERSATION_EDIT)
  return joinInsides(before, own)
}

/** Input and output of a stored response that has ended, as items; null where it is unknown. */
function conversationOf(
  { logs }: Pick<Planner, 'logs'>,
  tenant: number,
  id: string,
): Buffer | null {
  const found = StoredResponse.with(logs, tenant, id, stored => {
    const response = stored.finished()
    return response === null ? null : joinInsides(stored.note.items, outputItems(response))
  })
  return found instanceof OperatingError ? null : found
}

function editedBytes(
  asked: RequestBody,
  items: Buffer | null,
  isBackground: boolean,
  planner: Planner,
): Buffer {
  const isContinued = items !== null && asked.has(PREVIOUS)
  let bytes = asked.bytes
  if (isContinued) {
    const input = Buffer.concat([Buffer.from('['), items, Buffer.from(']')])
    bytes = replaceValues(asked, { input, previous_response_id: 'null' })
  }
  if (!isBackground) return bytes
  count(planner, BACKGROUND_EDIT)
  const again = scanObject(bytes)
  if (again === null) return bytes
  bytes = replaceValues(again, { background: 'false', stream: 'true' })
  return again.find(STREAM) === -1 ? appendMember(bytes, '"stream":true') : bytes
}

function count(planner: Planner, edit: number): void {
  planner.editCounts[edit] = (planner.editCounts[edit] ?? 0) + 1
}
