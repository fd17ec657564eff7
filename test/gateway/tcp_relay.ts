/**
 * A relay of bare TCP in a process of its own: what a hop through another process costs on this
 * machine at this moment, beside which the gateway's own delay is judged.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

const PROGRAM = `
  const net = require('node:net')
  const target = new URL(process.argv[1])
  net.createServer(client => {
    const node = net.connect(Number(target.port), target.hostname)
    for (const [from, to] of [[client, node], [node, client]]) {
      from.on('error', () => {}).on('close', () => to.destroy())
      from.pipe(to)
    }
  }).listen(0, '127.0.0.1', function () { console.log(this.address().port) })
`

export interface TcpRelay {
  readonly url: string
  stop(): void
}

export async function startTcpRelay(target: string): Promise<TcpRelay> {
  const child = spawn(process.execPath, ['-e', PROGRAM, target], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [port] = await once(createInterface({ input: child.stdout }), 'line')
  return { url: `http://127.0.0.1:${port}`, stop: () => void child.kill() }
}
