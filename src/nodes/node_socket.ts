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
 * While the parser is paused nothing is read, so an end comes behind the bytes: undici 7 fails an
 * assertion, which ends the process, when a reply without a length ends while it is paused.
 * TLS sockets are undici's own, on Node's stream.
 */
import { type ConnectOpts, Socket, type SocketConstructorOpts } from 'node:net'
import type { buildConnector as Connectors } from 'undici'
import { buildConnector, ConnectTimeoutError } from './undici.ts'

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
function tellReadable(socket: NodeSocket): void {
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

class NodeSocket extends Socket {
  /** Bytes that undici has not taken: a view of READ_BUFFER during a read, else a copy. */
  #unread: Buffer | null = null
  #isReading = false

  constructor() {
    // Node reads `onread` here, though its types know it of `connect` only.
    const options: SocketConstructorOpts & ConnectOpts = {
      onread: { buffer: READ_BUFFER, callback: size => this.#take(size) },
    }
    super(options)
  }

  /** One read of the system; false: read no more until `read` finds nothing here. */
  #take(size: number): boolean {
    this.#unread = READ_BUFFER.subarray(0, size)
    this.#isReading = true
    tellReadable(this)
    this.#isReading = false
    const rest = this.#unread
    if (rest === null) return true
    this.#unread = Buffer.from(rest)
    return false
  }

  /** What has been read, as it is; null: there is nothing, and reading goes on where it had stopped. */
  override read(size?: number): Buffer | null {
    const chunk = this.#unread
    if (size === 0 || (chunk === null && !this.#isReading)) {
      super.read(size)
      return null
    }
    this.#unread = null
    return chunk
  }

  /** The parser has paused within what it had read. */
  override unshift(rest: Buffer): void {
    this.#unread = rest
  }
}

/** Opens sockets for a Pool; one that is not accepted within `timeoutMs` is an error. */
export function nodeConnector(timeoutMs: number): Connectors.connector {
  const connectSecurely = buildConnector({ timeout: timeoutMs })
  return (options, callback) => {
    if (options.protocol === 'https:') connectSecurely(options, callback)
    else connect(options, timeoutMs, callback)
  }
}

function connect(
  { hostname, port }: Connectors.Options,
  timeoutMs: number,
  callback: Connectors.Callback,
): void {
  const socket = new NodeSocket()
  const failed = (error: Error): void => {
    clearTimeout(timer)
    callback(error, null)
  }
  const timer = setTimeout(() => {
    const address = `${hostname}:${port}`
    socket.destroy(new ConnectTimeoutError(`${address} did not accept within ${timeoutMs} ms`))
  }, timeoutMs)
  timer.unref()
  socket.once('error', failed)
  socket.once('connect', () => {
    clearTimeout(timer)
    socket.off('error', failed)
    callback(null, socket)
  })
  socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
  socket.connect({ host: hostname, port: Number(port === '' ? 80 : port) })
}
