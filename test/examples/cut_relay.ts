/** A network that can be cut: a relay of bare TCP whose connections all end at a word. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class CutRelay {
  readonly port: number
  /** Connections so far. */
  accepted = 0
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, sockets: Set<Socket>, port: number) {
    this.#server = server
    this.#sockets = sockets
    this.port = port
  }

  static async to(origin: string): Promise<CutRelay> {
    const target = new URL(origin)
    const sockets = new Set<Socket>()
    const server = createServer(client => {
      relay.accepted++
      const onward = connect(Number(target.port), target.hostname)
      for (const [from, to] of [[client, onward] as const, [onward, client] as const]) {
        sockets.add(from)
        from.on('error', () => {})
        from.on('close', () => {
          sockets.delete(from)
          to.destroy()
        })
        from.pipe(to)
      }
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const relay = new CutRelay(server, sockets, address.port)
    return relay
  }

  /** Every connection ends, without a word to either side. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  close(): void {
    this.cut()
    this.#server.close()
  }
}
