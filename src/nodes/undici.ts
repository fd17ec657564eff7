/**
 * The parts of undici that the gateway uses, each loaded from its own file.
 *
 * The package's index loads fetch, WebSocket, caches and mocks as well, which cost every thread
 * some 70 ms of its start, and memory. The package declares no `exports`, and
 * its version is pinned; test/nodes/undici.test.ts holds these parts beside the index's own.
 */
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import type * as Undici from 'undici'

const load = createRequire(import.meta.url)

/** `Dispatcher.request`, to be called on a dispatcher. */
type Request = (
  this: Undici.Dispatcher,
  options: Undici.Dispatcher.RequestOptions,
) => Promise<Undici.Dispatcher.ResponseData>

// Decode boundary: CommonJS files of a pinned package, whose types are those of its index.
/* oxlint-disable typescript/no-unsafe-type-assertion */
export const Pool = load('undici/lib/dispatcher/pool.js') as typeof Undici.Pool
export const { ConnectTimeoutError } = load('undici/lib/core/errors.js') as typeof Undici.errors
export const Agent = load('undici/lib/dispatcher/agent.js') as typeof Undici.Agent
const requestOf = load('undici/lib/api/api-request.js') as Request
const { kParser } = load('undici/lib/core/symbols.js') as { readonly kParser: symbol }
/* oxlint-enable typescript/no-unsafe-type-assertion */

interface ParserOwner {
  readonly [parser: symbol]: { readonly headers: Buffer[] } | null | undefined
}

/** Names and values of the head that a socket's parser is in the middle of: undici's own list. */
export function unfinishedHead(socket: Socket): Buffer[] | undefined {
  // Decode boundary: what undici's connect leaves on a socket of HTTP/1.1.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return (socket as unknown as ParserOwner)[kParser]?.headers
}

/** One request over the sockets of `dispatcher`; the path is that of `url`. */
export function request(
  dispatcher: Undici.Dispatcher,
  url: string,
  options: Omit<Undici.Dispatcher.RequestOptions, 'origin' | 'path'>,
): Promise<Undici.Dispatcher.ResponseData> {
  const { origin, pathname, search } = new URL(url)
  return requestOf.call(dispatcher, { ...options, origin, path: pathname + search })
}
