/** An HTTP client that drops its connection after a given number of bytes of the body. */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'

export interface Part {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Bytes up to the cut, or all of them. */
  readonly bytes: Buffer
  readonly isWhole: boolean
}

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** Reads `cut` bytes of the body and drops the connection; Infinity reads it to its end. */
export function readCut(url: string, cut: number, asked: Asked = {}): Promise<Part> {
  const { method = 'GET', headers = {}, body = '' } = asked
  return new Promise((resolve, reject) => {
    // A connection of its own: the kernel gives it to any of the threads.
    const agent = new Agent({ keepAlive: false })
    const length = body === '' ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const call = httpRequest(url, { method, agent, headers: { ...headers, ...length } }, reply => {
      const pieces: Buffer[] = []
      let size = 0
      const done = (isWhole: boolean): void => {
        const bytes = Buffer.concat(pieces).subarray(0, isWhole ? size : cut)
        resolve({ status: reply.statusCode ?? 0, headers: reply.headers, bytes, isWhole })
        call.destroy()
      }
      reply.on('data', (piece: Buffer) => {
        pieces.push(piece)
        size += piece.length
        if (size >= cut) done(false)
      })
      reply.on('end', () => done(true))
      reply.on('error', () => done(false))
      if (cut === 0) done(false)
    })
    call.on('error', reject)
    call.end(body)
  })
}
