/**
 * A WebSocket made of bytes: frames as a test wants them, right or wrong, and every byte of the
 * answer, so that a connection can be cut after any of them.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const FIN = 0x80

/** A client frame with a mask of zeros. */
export function frame(first: number, payload: Buffer, isMasked = true): Buffer {
  const size = payload.length
  const mask = isMasked ? 0x80 : 0
  let head: Buffer
  if (size < 126) head = Buffer.from([first, mask | size])
  else if (size <= 0xffff) head = Buffer.from([first, mask | 126, size >> 8, size & 0xff])
  else {
    head = Buffer.alloc(10)
    head[0] = first
    head[1] = mask | 127
    head.writeBigUInt64BE(BigInt(size), 2)
  }
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0), payload])
}

export interface RawFrame {
  readonly opcode: number
  readonly payload: Buffer
}

/** The whole frames of a server's bytes; a server's frames have no mask. */
export function readFrames(bytes: Buffer): RawFrame[] {
  const frames: RawFrame[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const from = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
    if (from > bytes.length) break
    let size = short
    if (short === 126) size = bytes.readUInt16BE(at + 2)
    else if (short === 127) size = Number(bytes.readBigUInt64BE(at + 2))
    if (from + size > bytes.length) break
    frames.push({
      opcode: (bytes[at] ?? 0) & 0x0f,
      payload: bytes.subarray(from, from + size),
    })
    at = from + size
  }
  return frames
}

/** A raw WebSocket; what the server says is kept, and whether it has ended. */
export class RawSocket {
  readonly socket: Socket
  received = Buffer.alloc(0)
  endedMs = 0

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', data => {
      this.received = Buffer.concat([this.received, data])
    })
    socket.on('error', () => {})
    for (const name of ['end', 'close']) {
      socket.on(name, () => {
        this.endedMs ||= performance.now()
      })
    }
  }

  /** Connects and shakes hands; throws when that is refused. */
  static async open(origin: string, path: string, protocol = ''): Promise<RawSocket> {
    const url = new URL(origin)
    const raw = new RawSocket(connect({ host: url.hostname, port: Number(url.port) }))
    raw.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        (protocol === '' ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`) +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d2FybXBhdGggYmVuY2ggIQ==\r\n\r\n',
    )
    while (!raw.received.includes('\r\n\r\n')) await once(raw.socket, 'data')
    const answer = raw.received.toString('latin1')
    if (!answer.startsWith('HTTP/1.1 101')) throw new Error(`no WebSocket: ${answer}`)
    raw.received = Buffer.alloc(0)
    return raw
  }

  say(text: string): void {
    this.socket.write(frame(FIN | TEXT, Buffer.from(text)))
  }

  get frames(): RawFrame[] {
    return readFrames(this.received)
  }

  /** Code of the close frame; null when there was none. */
  get closeCode(): number | null {
    const close = this.frames.find(({ opcode }) => opcode === CLOSE)
    return close === undefined ? null : close.payload.readUInt16BE(0)
  }
}
