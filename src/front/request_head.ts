/**
 * The head of a client's request, copied out of uWebSockets.js in one pass.
 *
 * uWS's `req` lives on the C++ stack and is gone when the handler returns, so everything that is
 * needed later is copied here. The same pass sorts the headers:
 *
 *     read      content-type, x-request-id, authorization, …
 *     dropped   hop-by-hop, trust and framing headers: they never reach a node
 *     forwarded all others, in the client's order, as a flat [name, value, …] list
 *
 * and finds the framing faults that the front's parser lets through (two Content-Length, an empty
 * one, Transfer-Encoding in odd spellings, two Host): each would let another parser see a second,
 * smuggled request in the body. Bytes that cannot be passed on are a fault too: no node must be
 * blamed for what a client wrote. A fault is a value; the caller answers it from `setImmediate`
 * and closes the connection (see reply.ts for why).
 *
 * Costs about 2 µs for the 10 headers of an SDK. It cannot see a header line with an empty name:
 * the parser hides that line and all after it, which is why a POST without a length is refused.
 */
import type { HttpRequest } from 'uWebSockets.js'
import { OperatingError } from '../errors.ts'
import { hopHeaders } from './hop_headers.ts'
import { headerOctets, urlAscii } from './octets.ts'

/** Header lists of this length are refused by the parser itself (98 lines at most). */
export type HeaderList = string[]

export interface RequestHead {
  readonly method: string
  readonly path: string
  /** Query string with its leading `?`, or empty. */
  readonly query: string
  readonly forwarded: HeaderList
  /** Bytes announced by Content-Length; -1 without one. */
  readonly contentLength: number
  readonly contentType: string
  readonly authorization: string | undefined
  readonly apiKey: string | undefined
  readonly requestId: string | undefined
  readonly upgrade: string | undefined
  /** No length where none is needed: nobody knows what the bytes behind the head are. */
  readonly isLengthMissing: boolean
  /** `x-warmpath-resume: 1`: the client wants to be able to come back. */
  readonly isResumable: boolean
  /** `x-warmpath-collapse`: the client's word on sharing a request, undefined without one. */
  readonly collapse: string | undefined
  /** Number of the last event that a client that comes back has seen. */
  readonly lastEventId: string | undefined
  readonly fault: OperatingError | null
}

const CONTENT_LENGTH = 1
const TRANSFER_ENCODING = 2
const HOST = 3
const AUTHORIZATION = 4
const API_KEY = 5
const REQUEST_ID = 6
const CONTENT_TYPE = 7
const UPGRADE = 8
const CONNECTION = 9
const DROPPED = 10
const RESUME = 11
const COLLAPSE = 12
const LAST_EVENT = 13

/**
 * What happens to a header that is not simply forwarded. Dropped are: hop-by-hop headers
 * (RFC 9110 section 7.6.1), headers that would make a node trust the client or choose a rank, and
 * accept-encoding, because the bytes of a stream must stay readable event by event.
 */
const RULES = new Map<string, number>([
  ['content-length', CONTENT_LENGTH],
  ['transfer-encoding', TRANSFER_ENCODING],
  ['host', HOST],
  ['authorization', AUTHORIZATION],
  ['x-api-key', API_KEY],
  ['x-request-id', REQUEST_ID],
  ['content-type', CONTENT_TYPE],
  ['upgrade', UPGRADE],
  ['connection', CONNECTION],
  ['x-warmpath-resume', RESUME],
  ['x-warmpath-collapse', COLLAPSE],
  ['last-event-id', LAST_EVENT],
  ['keep-alive', DROPPED],
  ['te', DROPPED],
  ['trailer', DROPPED],
  ['expect', DROPPED],
  ['proxy-authorization', DROPPED],
  ['proxy-authenticate', DROPPED],
  ['proxy-connection', DROPPED],
  ['http2-settings', DROPPED],
  ['sec-websocket-key', DROPPED],
  ['sec-websocket-version', DROPPED],
  ['sec-websocket-protocol', DROPPED],
  ['sec-websocket-extensions', DROPPED],
  ['cookie', DROPPED],
  ['accept-encoding', DROPPED],
  ['forwarded', DROPPED],
  ['x-forwarded-for', DROPPED],
  ['x-forwarded-host', DROPPED],
  ['x-forwarded-port', DROPPED],
  ['x-forwarded-proto', DROPPED],
  ['x-real-ip', DROPPED],
  ['x-data-parallel-rank', DROPPED],
  ['x-vllm-priority', DROPPED],
  ['x-smg-target-worker', DROPPED],
  ['x-smg-tenant-id', DROPPED],
  ['x-smg-routing-key', DROPPED],
])

/** Paths that take no body: `curl -X POST` sends neither one nor its length. */
const BODYLESS = /^\/(?:admin\/nodes\/[^/]+\/drain|v1\/responses\/[^/]+\/cancel)$/

const LENGTH_FORM = /^[0-9]{1,15}$/

class Head implements RequestHead {
  method = ''
  path = ''
  query = ''
  forwarded: HeaderList = []
  contentLength = -1
  contentType = ''
  authorization: string | undefined = undefined
  apiKey: string | undefined = undefined
  requestId: string | undefined = undefined
  upgrade: string | undefined = undefined
  isLengthMissing = false
  isResumable = false
  collapse: string | undefined = undefined
  lastEventId: string | undefined = undefined
  fault: OperatingError | null = null
  hosts = 0
  lengths = 0
  codings = 0
  connection = ''

  failWith(message: string): void {
    this.fault ??= new OperatingError('invalid_request', message)
  }
}

/** The head being read: `forEach` is synchronous, and a closure a request would be garbage. */
let reading = new Head()

function visit(name: string, text: string): void {
  const rule = RULES.get(name)
  if (rule === DROPPED) return
  const value = headerOctets(text)
  if (typeof value !== 'string') reading.failWith(`the header ${name} has ${value.fault}`)
  else if (rule === undefined) reading.forwarded.push(name, value)
  else readHeader(rule, value)
}

function readHeader(rule: number, value: string): void {
  const head = reading
  switch (rule) {
    case CONTENT_LENGTH:
      head.lengths++
      if (LENGTH_FORM.test(value)) head.contentLength = Number(value)
      else head.failWith('Content-Length must be a number of 1 to 15 digits')
      return
    case TRANSFER_ENCODING:
      head.codings++
      if (value !== 'chunked') head.failWith('Transfer-Encoding is not understood')
      return
    case HOST:
      head.hosts++
      return
    case AUTHORIZATION:
      head.authorization = value
      return
    case API_KEY:
      head.apiKey = value
      return
    case REQUEST_ID:
      if (value !== '') head.requestId = value
      return
    case CONTENT_TYPE:
      head.contentType = value
      head.forwarded.push('content-type', value)
      return
    case UPGRADE:
      head.upgrade = value
      return
    case RESUME:
      head.isResumable = value === '1'
      return
    case COLLAPSE:
      head.collapse = value
      return
    case LAST_EVENT:
      head.lastEventId = value
      return
    default:
      head.connection = value
  }
}

/** Reads the head of `req`, which must be called before the handler returns. */
export function readHead(req: HttpRequest): RequestHead {
  const head = new Head()
  reading = head
  head.method = req.getCaseSensitiveMethod()
  head.path = req.getUrl()
  const query = urlAscii(req.getQuery() ?? '')
  if (typeof query !== 'string') head.failWith(`the URL has ${query.fault}: percent-encode them`)
  else if (query !== '') head.query = `?${query}`
  req.forEach(visit)
  if (head.lengths > 1) head.failWith('more than one Content-Length header')
  if (head.codings > 1) head.failWith('more than one Transfer-Encoding header')
  if (head.hosts !== 1) head.failWith('exactly one Host header is needed')
  if (head.fault === null) head.fault = lengthFault(head)
  const hops = hopHeaders(head.connection)
  if (hops !== null) head.forwarded = without(head.forwarded, hops)
  return head
}

function without(list: HeaderList, names: ReadonlySet<string>): HeaderList {
  const kept: HeaderList = []
  for (let at = 0; at < list.length; at += 2) {
    const name = list[at] ?? ''
    if (!names.has(name)) kept.push(name, list[at + 1] ?? '')
  }
  return kept
}

/**
 * A body without a plain length is refused, also when it is well-formed `chunked`: the front's
 * parser accepts broken chunk sizes, so a chunked body could hide a second request.
 */
function lengthFault(head: Head): OperatingError | null {
  const takesBody = head.method === 'POST' || head.method === 'PUT' || head.method === 'PATCH'
  if (takesBody && head.codings === 0 && head.contentLength < 0 && BODYLESS.test(head.path)) {
    head.isLengthMissing = true
    return null
  }
  if (head.codings > 0 || (takesBody && head.contentLength < 0)) {
    return new OperatingError(
      'length_required',
      'send the body with a Content-Length header; Transfer-Encoding is not accepted',
    )
  }
  return null
}
