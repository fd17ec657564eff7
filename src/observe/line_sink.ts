/**
 * Writes lines to a file descriptor asynchronously, whole lines at a time.
 *
 *   write(line) ──► block ──(full)──► chunks ──► fs.write, one at a time ──► kernel
 *                     └──(batch bytes reached, or timer)──┘
 *
 * A line is encoded into the block at once, while its pieces are in the processor's cache: the
 * line of an exchange is joined of some 45, and 64 KiB of such lines no longer fit there.
 *
 * Invariants: a chunk is made of whole lines and is at most LOG_WRITE_BYTES_MAX long (a file:
 * LOG_FILE_WRITE_BYTES_MAX) unless one line is longer; chunks leave in order; one write is under
 * way at a time. A write of that size to a pipe is atomic on Linux and so is an append to a file,
 * therefore several threads may have a sink on one destination. (sonic-boom, pino's own, answers
 * `flush` before the bytes are out.)
 *
 * What it does badly: a destination that takes nothing makes chunks pile up to
 * LOG_PENDING_BYTES_MAX; then lines are dropped and counted, never waited for. A crash loses the
 * lines of the last LOG_FLUSH_MS.
 */
import { fstatSync, openSync, write } from 'node:fs'

/** Bytes of one write; PIPE_BUF of Linux, the largest write that a pipe does not cut. */
export const LOG_WRITE_BYTES_MAX = 4096

/** Bytes of one write to a file: an append of any size stays whole, and each costs a hop. */
export const LOG_FILE_WRITE_BYTES_MAX = 65_536

/** Share of a write that a gateway thread gathers before it writes, to save system calls. */
export const LOG_BATCH_SHARE = 0.75

/** Milliseconds after which gathered lines are written anyway, so that `tail -f` follows. */
export const LOG_FLUSH_MS = 250

/** Milliseconds until a full pipe is tried again; its reader needs some time to read 64 KiB. */
export const LOG_RETRY_MS = 20

/** Bytes waiting for a destination that takes nothing; more would grow without end. */
export const LOG_PENDING_BYTES_MAX = 8 * 1024 * 1024

/** The one system call of the sink: an argument, so that tests can make it fail. */
export type WriteCall = (
  fd: number,
  bytes: Buffer,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void

export const systemWrite: WriteCall = (fd, bytes, done) => {
  write(fd, bytes, 0, bytes.length, null, done)
}

/** Largest write to a descriptor that stays whole beside those of other threads. */
export function writeBytesMax(fd: number): number {
  const stat = fstatSync(fd)
  return stat.isFIFO() || stat.isSocket() ? LOG_WRITE_BYTES_MAX : LOG_FILE_WRITE_BYTES_MAX
}

/** Descriptor of a destination: stdout, stderr, or a file that is appended to. */
export function openDestination(destination: string): number {
  if (destination === 'stdout') return 1
  if (destination === 'stderr') return 2
  return openSync(destination, 'a', 0o640)
}

export class LineSink {
  readonly #fd: number
  readonly #writeBytesMax: number
  readonly #batchBytes: number
  readonly #onDrop: () => void
  readonly #call: WriteCall
  readonly #chunks: Buffer[] = []
  #block: Buffer | null = null
  /** Bytes of the block that hold lines. */
  #filled = 0
  #pendingBytes = 0
  #isWriting = false
  #timer: NodeJS.Timeout | null = null
  #waiters: (() => void)[] = []

  constructor(
    fd: number,
    batchBytes: number,
    onDrop: () => void,
    call = systemWrite,
    writeBytes = LOG_WRITE_BYTES_MAX,
  ) {
    this.#fd = fd
    this.#writeBytesMax = writeBytes
    this.#batchBytes = batchBytes
    this.#onDrop = onDrop
    this.#call = call
  }

  /** Takes one line with its line end. */
  write(line: string): void {
    this.#take(line, Buffer.byteLength(line), 'utf8')
  }

  /** As `write`, for a line that is known to be ASCII. */
  writeAscii(line: string): void {
    this.#take(line, line.length, 'latin1')
  }

  #take(line: string, bytes: number, encoding: 'utf8' | 'latin1'): void {
    if (this.#pendingBytes + bytes > LOG_PENDING_BYTES_MAX) {
      this.#onDrop()
      return
    }
    if (this.#filled + bytes > this.#writeBytesMax) this.#close()
    if (bytes > this.#writeBytesMax) {
      this.#chunks.push(Buffer.from(line, encoding))
    } else {
      this.#block ??= Buffer.allocUnsafeSlow(this.#writeBytesMax)
      this.#filled += this.#block.write(line, this.#filled, encoding)
    }
    this.#pendingBytes += bytes
    if (this.#isWriting) return
    if (this.#pendingBytes >= this.#batchBytes) this.#pump()
    else if (this.#timer === null) {
      this.#timer = setTimeout(() => this.#pump(), LOG_FLUSH_MS)
      this.#timer.unref()
    }
  }

  /** Resolves when every line taken so far has been handed to the kernel, or dropped. */
  flush(): Promise<void> {
    return new Promise(resolve => {
      this.#waiters.push(resolve)
      if (!this.#isWriting) this.#pump()
    })
  }

  #close(): void {
    if (this.#filled === 0 || this.#block === null) return
    const lines = this.#block.subarray(0, this.#filled)
    this.#filled = 0
    // A block that is mostly empty is kept, and what it holds is copied.
    const isKept = lines.length < this.#writeBytesMax / 2
    if (!isKept) this.#block = null
    this.#chunks.push(isKept ? Buffer.from(lines) : lines)
  }

  /** Starts the next write; when nothing is left, the waiters of `flush` are told. */
  #pump(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#chunks.length === 0) this.#close()
    const chunk = this.#chunks.shift()
    if (chunk === undefined) {
      const waiters = this.#waiters
      this.#waiters = []
      for (const resolve of waiters) resolve()
      return
    }
    this.#isWriting = true
    this.#send(chunk, chunk.length)
  }

  #send(bytes: Buffer, charged: number): void {
    this.#call(this.#fd, bytes, (error, written) => {
      if (error?.code === 'EAGAIN' || error?.code === 'EBUSY') {
        setTimeout(() => this.#send(bytes, charged), LOG_RETRY_MS)
        return
      }
      if (error === null && written < bytes.length) {
        this.#send(bytes.subarray(written), charged)
        return
      }
      // A reader of the pipe that went away must not end the gateway: its lines are dropped.
      if (error !== null) this.#onDrop()
      this.#isWriting = false
      this.#pendingBytes -= charged
      if (this.#chunks.length > 0 || this.#waiters.length > 0) this.#pump()
      else if (this.#pendingBytes >= this.#batchBytes && this.#pendingBytes > 0) this.#pump()
      else if (this.#pendingBytes > 0) {
        this.#timer = setTimeout(() => this.#pump(), LOG_FLUSH_MS)
        this.#timer.unref()
      }
    })
  }
}
