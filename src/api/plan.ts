/**
 * From an incoming request to what is done about it: the request for the node, and how its answer
 * is kept or shared.
 *
 *   responses, stored or in the background     kept under its response id        responses_plan.ts
 *   `x-warmpath-resume: 1` on a chat           kept under an id of its own, events numbered
 *   identical and deterministic                shared under its digest while it runs
 *   all others                                 private: nothing of this costs them anything
 */
import { createHash } from 'node:crypto'
import { OperatingError } from '../errors.ts'
import type { Keeping } from '../exchange/keeping.ts'
import type { ExchangeRequest } from '../exchange/request.ts'
import { keyId, VALUE_NUMBER } from '../native/json_scan.ts'
import type { RequestBody } from '../prompt/body.ts'
import type { LogOwner } from '../responses/log_owner.ts'
import type { EditRules } from './edit_rules.ts'
import type { IncomingRequest } from './relay.ts'
import { readRequest } from './relay.ts'
import { planResponse } from './responses_plan.ts'

/** What of a client's head decides how the answer is kept. */
export interface Wishes {
  readonly isResumable: boolean
  /** `x-warmpath-collapse`: `1` shares any identical request, `0` none. */
  readonly collapse: string | undefined
  /** Where the client's connection remembers what is not stored; HTTP has none. */
  readonly memory?: Memory
}

/** What one connection remembers of responses that are not stored. */
export interface Memory {
  /** What a response is found by in this memory; nobody else can know it. */
  keyOf(responseId: string): string
  readonly retentionMs: number
}

/** What planning needs of its thread. */
export interface Planner {
  readonly rules: EditRules
  /** One counter for each of EDITS. */
  readonly editCounts: Uint32Array
  readonly logs: LogOwner
  /** Unguessable, 32 hex digits. */
  newId(): string
  /** Milliseconds since 1970. */
  wallMs(): number
  readonly retentionMs: number
  readonly resumeMs: number
  readonly collapses: boolean
  /** A node gets the client's Authorization, so that its answer may depend on it. */
  readonly forwardsAuthorization: boolean
}

export interface Plan {
  readonly request: ExchangeRequest
  readonly keeping: Keeping | null
  /** An identical request in flight is found by this, and its answer read. */
  readonly shareKey: string | null
  /** Further headers of the answer. */
  readonly headers: readonly (readonly [string, string])[]
  /** The answer where it does not wait for the work. */
  readonly now: string | null
  /** The events are numbered for the client. */
  readonly isNumbered: boolean
  /** The id of the response, where the gateway gave it one. */
  readonly responseId: string | null
}

/** Prefix of the ids of resumable chat completions. */
export const RESUME_PREFIX = 'wpr_'
/** Name under which a client learns the id of what it may come back to. */
export const RESPONSE_ID_HEADER = 'x-warmpath-response-id'

const NO_HEADERS: readonly (readonly [string, string])[] = []
const TEMPERATURE = keyId('temperature')
const SEED = keyId('seed')
const PREVIOUS = keyId('previous_response_id')
/** Headers that a node's answer may depend on; they are part of what makes requests identical. */
const TELLING_HEADERS = new Set([
  'x-session-id',
  'anthropic-version',
  'anthropic-beta',
  'content-type',
])

export function planRequest(
  incoming: IncomingRequest,
  wishes: Wishes,
  planner: Planner,
): Plan | OperatingError {
  const { name } = incoming.endpoint
  if (name === 'responses') return planResponse(incoming, wishes, planner)
  const request = readRequest(incoming, planner.rules, planner.editCounts)
  if (request instanceof OperatingError) return request
  if (wishes.isResumable && name === 'chat') return resumable(request, planner)
  return planPrivate(request, wishes, planner)
}

/** A request whose answer nobody comes back to; an identical one may share it. */
export function planPrivate(request: ExchangeRequest, wishes: Wishes, planner: Planner): Plan {
  const shareKey = mayShare(request, wishes, planner) ? digestOf(request, planner) : null
  const keeping: Keeping | null =
    shareKey === null
      ? null
      : {
          ids: [shareKey],
          kind: request.body?.isStream === true ? 'sse' : 'json',
          onLeft: 'cancel',
          retentionMs: 0,
          note: null,
          closing: null,
        }
  return {
    request,
    keeping,
    shareKey,
    headers: NO_HEADERS,
    now: null,
    isNumbered: false,
    responseId: null,
  }
}

function resumable(request: ExchangeRequest, planner: Planner): Plan {
  const id = RESUME_PREFIX + planner.newId()
  const keeping: Keeping = {
    ids: [id],
    kind: request.body?.isStream === true ? 'sse' : 'json',
    onLeft: 'grace',
    retentionMs: planner.resumeMs,
    note: null,
    closing: null,
  }
  const headers: [string, string][] = [[RESPONSE_ID_HEADER, id]]
  return { request, keeping, shareKey: null, headers, now: null, isNumbered: true, responseId: id }
}

function mayShare(request: ExchangeRequest, wishes: Wishes, planner: Planner): boolean {
  const { body, endpoint } = request
  if (body === null || endpoint.promptKind === null || !planner.collapses) return false
  if (wishes.collapse !== undefined) return wishes.collapse === '1'
  return endpoint.promptKind !== 'embedding' && isDeterministic(body) && !body.has(PREVIOUS)
}

/** Temperature 0, or a seed. */
function isDeterministic(body: RequestBody): boolean {
  if (body.typeOf(SEED) === VALUE_NUMBER) return true
  return body.typeOf(TEMPERATURE) === VALUE_NUMBER && Number(body.text(TEMPERATURE)) === 0
}

/** Two requests have equal digests when nothing that an answer may depend on tells them apart. */
function digestOf(
  request: ExchangeRequest,
  { forwardsAuthorization }: Pick<Planner, 'forwardsAuthorization'>,
): string {
  const hash = createHash('sha256').update(request.target)
  const { headers } = request
  for (let at = 0; at < headers.length; at += 2) {
    if (TELLING_HEADERS.has(headers[at] ?? '')) hash.update(`\n${headers[at]}:${headers[at + 1]}`)
  }
  const authorization = forwardsAuthorization ? request.authorization : undefined
  hash.update(`\n${authorization ?? ''}\n\n`)
  return hash.update(request.bytes).digest('hex')
}
