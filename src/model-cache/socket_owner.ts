/**
 * Which user is at the other end of a loopback connection. Without a token nothing else says who
 * is asking: a port on loopback is open to every user of the host.
 *
 *   /proc/net/tcp    sl  local          remote         st …  uid    timeout  inode
 *                     3: 0100007F:9C40  0100007F:206C  01 …  65534        0  48213
 *
 * The row of the other end is the one whose local address is our remote one. Only an established
 * socket with an inode counts: what was closed, or not accepted yet, is listed as root's. Who can
 * be found nowhere, as from another network namespace, is nobody.
 *
 * Costs: the kernel lists every socket of the host, some ms for ten thousand; once a connection.
 */
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { isLoopback } from '../address.ts'

/** What whoever is of another user is told. */
export const OTHER_USER = 'without a token members are of one user: give them a token_file'

/** State of a connection whose ends are both open. */
const ESTABLISHED = '01'

/** How the kernel writes an IPv4 address in the list of IPv6: "::ffff:" in words of four bytes. */
const MAPPED = '0000000000000000FFFF0000'

const LOOPBACK_V6 = '00000000000000000000000001000000'

/** The address as in the lists of IPv4 and IPv6, each word with its bytes in the host's order. */
function spellings(address: string): { readonly v4: string | null; readonly v6: string } {
  if (address === '::1') return { v4: null, v6: LOOPBACK_V6 }
  const parts = address.replace(/^::ffff:/i, '').split('.')
  const bytes = parts.map(part => Number(part).toString(16).padStart(2, '0').toUpperCase())
  const v4 = bytes.toReversed().join('')
  return { v4, v6: `${MAPPED}${v4}` }
}

function portOf(port: number): string {
  return port.toString(16).padStart(4, '0').toUpperCase()
}

/** The user of the row that begins with these ends; null when there is none. */
function userIn(list: string, ends: string): number | null {
  const at = list.indexOf(`${ends} ${ESTABLISHED} `)
  if (at === -1) return null
  const [, , , , , , user, , inode] = list.slice(at, list.indexOf('\n', at)).split(/ +/)
  return inode === '0' ? null : Number(user)
}

/** The user who owns the other end; null for nobody that can be found. */
async function userBehind(socket: Socket): Promise<number | null> {
  const { localAddress, localPort, remoteAddress, remotePort } = socket
  if (localAddress === undefined || localPort === undefined) return null
  if (remoteAddress === undefined || remotePort === undefined) return null
  if (!isLoopback(localAddress) || !isLoopback(remoteAddress)) return null
  const [near, far] = [spellings(localAddress), spellings(remoteAddress)]
  const [nearPort, farPort] = [portOf(localPort), portOf(remotePort)]
  if (near.v4 !== null && far.v4 !== null) {
    const list = await readFile('/proc/net/tcp', 'latin1')
    const user = userIn(list, `${far.v4}:${farPort} ${near.v4}:${nearPort}`)
    if (user !== null) return user
  }
  const list = await readFile('/proc/net/tcp6', 'latin1')
  return userIn(list, `${far.v6}:${farPort} ${near.v6}:${nearPort}`)
}

/** Whoever is behind a connection stays so: each is looked up once. */
const known = new WeakMap<Socket, Promise<boolean>>()

async function isOwn(socket: Socket): Promise<boolean> {
  try {
    const user = await userBehind(socket)
    return user === 0 || user === process.geteuid?.()
  } catch {
    // No /proc: nobody can tell, so nobody is believed.
    return false
  }
}

/** Whether our own user, or root, is at the other end. */
export function isOwnUser(socket: Socket): Promise<boolean> {
  const answer = known.get(socket) ?? isOwn(socket)
  known.set(socket, answer)
  return answer
}
