/** A port that a member cannot have: a fault of its setting, told without a stack trace. */
import { formatAddress } from '../address.ts'

export class ListenError extends Error {
  constructor(
    place: { readonly host: string; readonly port: number },
    what: string,
    cause: unknown,
  ) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    const reason = code === 'EADDRINUSE' ? 'the port is taken' : code
    super(`listen ${formatAddress(place)} (${what}): ${reason}`, { cause })
    this.name = 'ListenError'
  }
}
