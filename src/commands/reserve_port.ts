import { createServer } from 'node:net'

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something listens there already: choose another port, or end it',
  EADDRNOTAVAIL: 'that is no address of this machine',
  EACCES: 'ports below 1024 are for root: choose another port',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
}

/** A port that cannot be had, with the remedy. */
export class ListenError extends Error {
  constructor(host: string, port: number, cause: NodeJS.ErrnoException) {
    super(`cannot listen on ${host}:${port}: ${REASONS[cause.code ?? ''] ?? cause.message}`)
    this.name = 'ListenError'
  }
}

/**
 * Finds the port and makes sure that nobody listens there: uWebSockets.js sets SO_REUSEPORT, with
 * which a second gateway on the same port would start without a word. Port 0 takes a free one.
 */
export async function reservePort(host: string, port: number): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(new ListenError(host, port, error)))
    server.listen({ host, port, exclusive: true }, resolve)
  })
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error(`cannot bind ${host}`)
  return address.port
}
