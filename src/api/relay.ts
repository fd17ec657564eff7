/**
 * From a request's head and body to what an exchange runs: the body is scanned (not parsed), the
 * fields that the gateway reads are checked, the permitted edits are made.
 */
import type { Tenant } from '../access/keys.ts'
import { OperatingError } from '../errors.ts'
import type { EndpointFacts, ExchangeRequest } from '../exchange/request.ts'
import type { RequestBody } from '../prompt/body.ts'
import { readBody } from '../prompt/body.ts'
import { editBody } from '../prompt/edits.ts'
import type { EditRules } from './edit_rules.ts'
import { multipartField } from './multipart.ts'

const SESSION_HEADER = 'x-session-id'

export interface IncomingRequest {
  readonly id: string
  readonly endpoint: EndpointFacts
  readonly tenant: Tenant
  readonly method: 'POST' | 'GET'
  readonly target: string
  readonly headers: readonly string[]
  readonly authorization: string | undefined
  readonly clientId: string | undefined
  readonly contentType: string
  readonly bytes: Buffer
}

/**
 * The request of an exchange, or the error with its place and remedy. `editCounts` has one counter
 * for each of EDITS.
 */
export function readRequest(
  incoming: IncomingRequest,
  rules: EditRules,
  editCounts: Uint32Array,
): ExchangeRequest | OperatingError {
  const { bytes, endpoint } = incoming
  const headers = ownSession(incoming.headers, rules.sessionPrefix(incoming.tenant))
  const common = { ...incoming, headers }
  if (incoming.method === 'GET') return request(common, bytes, null, null, null)
  if (endpoint.isMultipart) {
    const model = multipartField(bytes, incoming.contentType, 'model')
    if (model !== null) return request(common, bytes, null, model, null)
    const message = 'the form has no field "model"; send multipart/form-data with file and model'
    return new OperatingError('invalid_request', message, 'model')
  }
  const body = readBody(bytes)
  if (body instanceof OperatingError) return body
  const policy = rules.policyFor(incoming.tenant, body)
  const edited = editBody(body, policy, editCounts)
  return request(common, edited, body, body.model, policy.cacheSalt ?? body.cacheSalt)
}

/** The headers with the session that they name made the tenant's own, as `session_id` is. */
function ownSession(headers: readonly string[], prefix: string | null): readonly string[] {
  if (prefix === null) return headers
  const at = headers.findIndex((name, index) => index % 2 === 0 && name === SESSION_HEADER)
  return at < 0 ? headers : headers.with(at + 1, prefix + headers[at + 1])
}

function request(
  incoming: IncomingRequest,
  bytes: Buffer,
  body: RequestBody | null,
  model: string | null,
  salt: string | null,
): ExchangeRequest {
  const { id, clientId, endpoint, tenant, method, target, headers, authorization } = incoming
  return {
    id,
    clientId,
    endpoint,
    tenant,
    method,
    target,
    headers,
    authorization,
    bytes,
    body,
    model,
    salt,
  }
}
