/**
 * A socket to a node, whose bytes undici's parser reads where the system put them.
 *
 *     system ──► READ_BUFFER ──'readable'──► undici: read() ──► its parser ──► the afterRead task
 *                     │ the parser has paused
 *                     └──► what is left is copied, and the socket is not read on until read()
 *
 * Node's stream puts each read into a new buffer of 64 KiB, queues it, and says 'readable' a tick
 * later: for 300 bytes, which the parser copies into its own memory at once. Without that a token
 * of a paced stream costs 7 % less of all processor time. `onread` is Node's documented way to read
 * into one buffer; a thread needs only one, as a read is over before the next begins.
 *
 * Contract: a chunk that undici's handlers get is a view of that buffer, so it is valid during the
 * call and the `afterRead` task of the same read, and whoever keeps it copies it (ReadGatherer).
 * undici itself keeps views of the head's fields until the head is whole, so what it has of one
 * that goes on in the next read is copied here.
 * While the parser is paused nothing is read, so an end comes behind the bytes: undici 7 fails an
 * assertion, which ends the process, when a reply without a length ends while it is paused.
 */
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import type { buildConnector as Connectors } from 'undici'
import { ConnectTimeoutError, unfinishedHead } from './undici.ts'

/** What one read takes at most; Node's own streams read as much. */
const READ_BYTES_MAX = 65_536
/** The first probe of an idle connection (TCP keep-alive, ms). */
const KEEP_ALIVE_MS = 60_000

const READ_BUFFER = Buffer.allocUnsafeSlow(READ_BYTES_MAX)

/** What runs behind the parser: of the read that is going on, if one is. */
let isReadGoingOn = false
let task: (() => void) | null = null

/** Runs `next` behind the parser of the read that is going on, or as a microtask. */
export function afterRead(next: () => void): void {
  if (isReadGoingOn && task === null) task = next
  else queueMicrotask(next)
}

/** Tells undici of a read; it takes the bytes before this returns, unless its parser pauses. */
function tellReadable(socket: Socket): void {
  isReadGoingOn = true
  try {
    socket.emit('readable')
  } finally {
    isReadGoingOn = false
  }
  const due = task
  task = null
  due?.()
}

/** The next read is put where undici's views of an unfinished head point to. */
function copyHead(socket: Socket): void {
  const fields = unfinishedHead(socket)
  if (fields === undefined || fields.length === 0) return
  for (const [i, field] of fields.entries()) {
    if (field.buffer === READ_BUFFER.buffer) fields[i] = Buffer.from(field)
  }
}

/** What one socket has read and undici has not taken yet. */
class NodeReads {
  readonly onread = { buffer: READ_BUFFER, callback: (size: number) => this.#take(size) }
  /** A view of READ_BUFFER during a read, else a copy. */
  #unread: Buffer | null = null
  #isReading = false
  #socket: Socket | null = null

  /** From now on whoever reads the socket, which was made with `onread`, reads it here. */
  attach(socket: Socket): void {
    this.#socket = socket
    const read = socket.read.bind(socket)
    socket.read = size => this.#read(size, read)
    // The parser has paused within what it had read.
    socket.unshift = (rest: Buffer) => {
      this.#unread = rest
    }
  }

  /** One read of the system; false: read no more until `#read` finds nothing here. */
  #take(size: number): boolean {
    const bytes = READ_BUFFER.subarray(0, size)
    if (this.#unread !== null) {
      // TLS tells all records of a read, also behind the one at which it was told to stop.
      this.#unread = Buffer.concat([this.#unread, bytes])
      return false
    }
    this.#unread = bytes
    this.#isReading = true
    if (this.#socket !== null) {
      tellReadable(this.#socket)
      copyHead(this.#socket)
    }
    this.#isReading = false
    const rest = this.#unread
    if (rest === null) return true
    this.#unread = Buffer.from(rest)
    return false
  }

  /** What has been read, as it is; null: there is nothing, and reading goes on where it had stopped. */
  #read(size: number | undefined, readOn: (size?: number) => Buffer | null): Buffer | null {
    const chunk = this.#unread
    if (chunk === null) {
      if (size === 0 || !this.#isReading) readOn(size)
      return null
    }
    // An end that TLS tells together with the bytes before it has to wait for them.
    if (size === 0) return null
    this.#unread = null
    return chunk
  }
}

/** Opens sockets to one origin for its Pool; one that is not there within `timeoutMs` is an error. */
export function nodeConnector(timeoutMs: number): Connectors.connector {
  // Of TLS: the next connection begins with what the last had agreed on.
  let session: Buffer | undefined
  return ({ hostname, port, protocol, servername }, callback) => {
    const reads = new NodeReads()
    const { onread } = reads
    const isSecure = protocol === 'https:'
    const place = { host: hostname, port: Number(port || (isSecure ? 443 : 80)), onread }
    // An address is no name that a certificate is chosen by.
    const name = servername ?? (isIP(hostname) === 0 ? hostname : '')
    const socket = isSecure
      ? connectSecurely({ ...place, servername: name, session, ALPNProtocols: ['http/1.1'] })
      : connect(place)
    reads.attach(socket)
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
    // Said by TLS sockets only.
    socket.on('session', (agreed: Buffer) => {
      session = agreed
    })
    const timer = setTimeout(() => {
      const address = `${hostname}:${place.port}`
      socket.destroy(new ConnectTimeoutError(`${address} did not accept within ${timeoutMs} ms`))
    }, timeoutMs)
    timer.unref()
    settled(socket, isSecure ? 'secureConnect' : 'connect', error => {
      clearTimeout(timer)
      if (error === null) callback(null, socket)
      else callback(error, null)
    })
  }
}

/** Calls `next` at `event`, or with the error that came in its place. */
function settled(socket: Socket, event: string, next: (error: Error | null) => void): void {
  socket.once('error', next)
  socket.once(event, () => {
    socket.off('error', next)
    next(null)
  })
}
