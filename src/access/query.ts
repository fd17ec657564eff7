/**
 * A key in a URL is refused: URLs end in the logs of every proxy on the way (security.md S14).
 * Only names are looked at, percent-decoded; the value is never read, so it cannot be repeated.
 */

/** Names of query parameters, in lower case, that clients put keys into. */
export const KEY_PARAMETERS: readonly string[] = [
  'api_key',
  'api-key',
  'apikey',
  'x-api-key',
  'access_token',
  'authorization',
]

const NAMES: ReadonlySet<string> = new Set(KEY_PARAMETERS)

function decoded(name: string): string {
  try {
    return decodeURIComponent(name.replaceAll('+', ' '))
  } catch {
    return name
  }
}

/** Whether the query string (without `?`) names a key. */
export function queryHoldsKey(query: string): boolean {
  if (query === '') return false
  for (const pair of query.split('&')) {
    const end = pair.indexOf('=')
    const name = end === -1 ? pair : pair.slice(0, end)
    if (NAMES.has(decoded(name).trim().toLowerCase())) return true
  }
  return false
}
