/**
 * What a WebSocket client says before it is one: subprotocols, a key among them, and its origin.
 *
 *     Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.KEY     browsers: no headers there
 *     Sec-WebSocket-Protocol: warmpath.msgpack
 *
 * One subprotocol is echoed and never the key. The origin is that of the page which opened the
 * socket; programs send none. It is checked when origins are configured.
 */

/** Subprotocols that are echoed, in the order of preference. */
const PROTOCOLS = ['warmpath.msgpack', 'realtime', 'openai-beta.responses.v1']
const MSGPACK = PROTOCOLS[0]
const KEY_PREFIX = 'openai-insecure-api-key.'

export interface Protocols {
  /** The one to echo; empty for none. */
  readonly chosen: string
  readonly isMsgpack: boolean
  /** As an Authorization header would have it, when a key was among them. */
  readonly authorization: string | undefined
}

export function readProtocols(header: string): Protocols {
  const offered = header.split(',').map(name => name.trim())
  const chosen = PROTOCOLS.find(name => offered.includes(name)) ?? ''
  const key = offered.find(name => name.startsWith(KEY_PREFIX))
  const authorization = key === undefined ? undefined : `Bearer ${key.slice(KEY_PREFIX.length)}`
  return { chosen, isMsgpack: chosen === MSGPACK, authorization }
}

/** Whether a page of that origin may open a socket; with no origins configured each may. */
export function isOriginAllowed(origin: string, allowed: readonly string[]): boolean {
  return origin === '' || allowed.length === 0 || allowed.includes(origin)
}
