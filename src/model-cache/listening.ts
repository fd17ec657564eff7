/**
 * Where a member listens and with which token. Beyond loopback without a token is refused: whoever
 * can reach the port could read every model.
 */
import { readFileSync } from 'node:fs'
import { isLoopback, PORT_MAX, parseAddress } from '../address.ts'

/** Characters of a token: less is guessed. */
const TOKEN_CHARS_MIN = 16

export interface Listening {
  readonly listen: { readonly host: string; readonly port: number }
  readonly token: string | null
}

export type ListeningResult =
  | { readonly kind: 'listening'; readonly listening: Listening }
  | { readonly kind: 'fault'; readonly message: string }

/** The one address that a member listens on; null when it listens on all of its host. */
export function singleHost(host: string): string | null {
  return ['', '0.0.0.0', '::'].includes(host) ? null : host
}

function fault(message: string): ListeningResult {
  return { kind: 'fault', message }
}

export function listeningOf(
  listen: string | undefined,
  tokenFile: string | undefined,
): ListeningResult {
  let token: string | null = null
  if (tokenFile !== undefined) {
    try {
      token = readFileSync(tokenFile, 'utf8').trim()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      return fault(`token_file ${tokenFile} cannot be read (${reason})`)
    }
    if (token.length < TOKEN_CHARS_MIN) {
      return fault(`token_file ${tokenFile}: a token has at least ${TOKEN_CHARS_MIN} characters`)
    }
  }
  const address = listen === undefined ? { host: '127.0.0.1', port: 0 } : parseAddress(listen)
  if (address === null) return fault(`listen: expected "host:port", not "${listen}"`)
  if (address.port === PORT_MAX) {
    return fault(`listen ${listen}: chunks leave from the next port, and ${PORT_MAX} is the last`)
  }
  if (token === null && !isLoopback(address.host)) {
    return fault(
      `listen ${listen} can be reached from other hosts: give a token_file, or listen on loopback`,
    )
  }
  return { kind: 'listening', listening: { listen: address, token } }
}
