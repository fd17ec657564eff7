/**
 * What a transport error means for the node and for a retry. The classes are those of
 * `OutcomeKind`: `refused` = no connection came about, so the node has seen nothing of the
 * request; `reset` = the connection broke, the node may have seen all of it; `timeout` = silence.
 */

/** Codes of errors that happen before a connection exists. A connect timeout is one of them. */
const REFUSED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'UND_ERR_CONNECT_TIMEOUT',
])

const TIMEOUT = new Set(['ETIMEDOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

/** Class of an error that undici or the socket reported. A failed certificate is `refused`, too. */
export function classifySocketError(error: unknown): 'refused' | 'reset' | 'timeout' {
  const code = codeOf(error)
  if (REFUSED.has(code)) return 'refused'
  // Two addresses were tried (`localhost`): connect() reports one error of several.
  if (error instanceof AggregateError && error.errors.length > 0) {
    return classifySocketError(error.errors[0])
  }
  if (TIMEOUT.has(code)) {
    const isConnect = error instanceof Error && 'syscall' in error && error.syscall === 'connect'
    return isConnect ? 'refused' : 'timeout'
  }
  const isCertificate = code.startsWith('ERR_TLS') || code.includes('CERT')
  return isCertificate ? 'refused' : 'reset'
}
