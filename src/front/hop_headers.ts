/**
 * Headers that concern one connection only, because its `Connection` header names them
 * (RFC 9110 section 7.6.1). Those that every connection has are left out by their names.
 */

const COMMON = new Set(['', 'close', 'keep-alive', 'upgrade'])

/** Names, in lower case, that a `Connection` header lists beside the common ones; null: none. */
export function hopHeaders(connection: string): ReadonlySet<string> | null {
  if (COMMON.has(connection)) return null
  const names = connection.split(',').map(name => name.trim().toLowerCase())
  const further = names.filter(name => !COMMON.has(name))
  return further.length > 0 ? new Set(further) : null
}
