/**
 * Places to listen on, as people write them. Apart from the settings that are made of it, because
 * the command line names an address in its errors, and must not load a schema library for that.
 */

/** Highest TCP port. */
export const PORT_MAX = 65_535

/** A place to listen on. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** "host:port", "[v6]:port" or a port on loopback; null when it is none of these. */
export function parseAddress(text: string): Address | null {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]/]+)):(\d{1,5})$/.exec(text)
  if (match !== null) {
    const port = Number(match[3])
    return port <= PORT_MAX ? { host: match[1] ?? match[2]!, port } : null
  }
  if (!/^\d{1,5}$/.test(text) || Number(text) > PORT_MAX) return null
  return { host: '127.0.0.1', port: Number(text) }
}

/** The address as `host:port`, with brackets around IPv6. */
export function formatAddress(place: Address): string {
  const host = place.host.includes(':') ? `[${place.host}]` : place.host
  return `${host}:${place.port}`
}

/** Whether only this machine can reach the address. Names other than localhost count as public. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase()
  if (bare === 'localhost' || bare === '::1') return true
  return /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(bare)
}
