/** Every way in which `warmpath serve` ends has an exit code: none is a crash of its threads. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { freePorts } from '../../bench/children.ts'
import { packageRoot } from '../../src/native/package_root.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import { healthy, leases, startGateway, until } from './gateway.ts'

const CLI = path.join(packageRoot(), 'dist/cli.js')
/** Nobody listens there; a gateway starts without its nodes. */
const NODE = 'http://127.0.0.1:9'

interface Start {
  readonly written: () => string
  readonly ended: Promise<readonly [code: number | null, signal: string | null]>
  readonly kill: (signal: NodeJS.Signals) => void
}

function start(port: number, ...words: string[]): Start {
  const args = [CLI, 'serve', '--port', String(port), '--node', NODE, ...words]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let written = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', part => {
      written += String(part)
    })
  }
  const ended = once(child, 'close') as Promise<[number | null, string | null]>
  return { written: () => written, ended, kill: signal => void child.kill(signal) }
}

/** Whether somebody listens on the port. */
function listens(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    const answer = (is: boolean): void => {
      socket.destroy()
      resolve(is)
    }
    socket.once('connect', () => answer(true)).once('error', () => answer(false))
  })
}

describe.each([1, 2])('SIGTERM with %i gateway threads', threads => {
  const words = ['--threads', String(threads)]

  test('as soon as the port answers ends with 0', async () => {
    for (let round = 0; round < 3; round += 1) {
      const port = await freePorts(2)
      const { kill, written, ended } = start(port, ...words)
      await until(() => listens(port), 'the port to answer')
      kill('SIGTERM')
      expect(await ended, written()).toEqual([0, null])
    }
  })

  test('as soon as it says that it listens ends with 0', async () => {
    for (let round = 0; round < 3; round += 1) {
      const { kill, written, ended } = start(await freePorts(2), ...words)
      await until(() => written().includes('listening on'), 'the greeting')
      kill('SIGTERM')
      expect(await ended, written()).toEqual([0, null])
    }
  })

  test('twice, while a stream runs, ends at once with 130', async () => {
    const node = await startSimNode({ timeFactor: 0.2 })
    const gateway = await startGateway([node.url], words)
    await healthy(gateway, 1)
    await node.fault({ kind: 'freeze' })
    const body = { model: 'sim', messages: [{ role: 'user', content: 'for ever' }], stream: true }
    const headers = { 'content-type': 'application/json' }
    const asked = { method: 'POST', headers, body: JSON.stringify(body) }
    const stream = fetch(`${gateway.url}/v1/chat/completions`, asked)
    const cut = expect(stream.then(reply => reply.text())).rejects.toThrow()
    const { port } = new URL(gateway.url)
    await until(async () => (await leases(gateway)) === 1, 'the stream to be under way')
    gateway.signal('SIGTERM')
    await until(async () => !(await listens(Number(port))), 'the port to be closed')
    gateway.signal('SIGTERM')
    expect(await gateway.exited).toBe(130)
    await cut
    await node.close()
  })
})

test('an admin port that is taken ends it with 1, although threads listen', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  // Decode boundary: the address of a TCP server.
  const { port: admin } = taken.address() as AddressInfo
  const { written, ended } = start(await freePorts(2), '--admin', `127.0.0.1:${admin}`)
  expect(await ended).toEqual([1, null])
  expect(written()).toContain(String(admin))
  await new Promise(resolve => taken.close(resolve))
})
