import { createServer } from 'node:net'

/**
 * Finds the port and makes sure that nobody listens there: uWebSockets.js sets SO_REUSEPORT, with
 * which a second gateway on the same port would start without a word. Port 0 takes a free one.
 */
export async function reservePort(host: string, port: number): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, exclusive: true }, resolve)
  })
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error(`cannot bind ${host}`)
  return address.port
}
