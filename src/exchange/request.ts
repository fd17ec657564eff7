/** What an exchange is asked to run: one request, read and checked, independent of any socket. */
import type { ErrorDialect } from '../errors.ts'
import type { Endpoint } from '../observe/metrics/labels.ts'
import type { RequestBody } from '../prompt/body.ts'
import type { PromptKind } from '../prompt/keyer.ts'

/**
 * How one knows that a reply is whole:
 * - `done`: a stream ends with `data: [DONE]`;
 * - `terminal`: a stream ends with a terminal event (Responses, Messages);
 * - `body`: the HTTP body's own end.
 */
export type Completion = 'done' | 'terminal' | 'body'

export interface EndpointFacts {
  /** Bounded label of metrics and the log line. */
  readonly name: Endpoint
  /** How the prompt is keyed for prefix-aware routing; null is placed by load. */
  readonly promptKind: PromptKind | null
  readonly completion: Completion
  readonly dialect: ErrorDialect
  readonly isMultipart: boolean
}

/** Whose request it is: the access room's Tenant is one. */
export interface Owner {
  readonly id: number
  /** Safe to log. */
  readonly name: string
}

export interface ExchangeRequest {
  readonly id: string
  /** The client's own `x-request-id`, for the log line. */
  readonly clientId: string | undefined
  readonly endpoint: EndpointFacts
  readonly tenant: Owner
  readonly method: 'POST' | 'GET'
  /** Path and query string, as the client sent them. */
  readonly target: string
  /** Headers for the node, a flat [name, value, …] list without framing and credentials. */
  readonly headers: readonly string[]
  /** The client's Authorization, passed on only while the gateway has no keys of its own. */
  readonly authorization: string | undefined
  /** Bytes for the node, after the permitted edits. */
  readonly bytes: Buffer
  /** The scanned JSON body; null for GET and multipart. */
  readonly body: RequestBody | null
  /** Model asked for; null lets any node answer. */
  readonly model: string | null
  /** The cache salt that the node sees; it enters the prompt's chain keys. */
  readonly salt: string | null
}
