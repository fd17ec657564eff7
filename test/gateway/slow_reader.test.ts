/**
 * A client that asks for a stream of 500 MB and reads nothing: it costs little memory, is cut after
 * 10–12 s without progress (the front's own timer), and nobody else is slowed meanwhile.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packageRoot } from '../../src/native/package_root.ts'
import type { Gateway } from './gateway.ts'
import { healthy, startGateway, until } from './gateway.ts'

const MEMORY_BYTES_MAX = 2 * 2 ** 20
/** Tokens of the long stream: more than 500 MB at some 220 bytes an event. */
const LONG_TOKENS = 2_500_000

function body(tokens: number): string {
  const messages = [{ role: 'user', content: 'x' }]
  return JSON.stringify({ model: 'mock', messages, max_tokens: tokens, stream: true })
}

// The mock node is a process of its own in C++, so that its work is not the gateway's delay.
const node = spawn(path.join(packageRoot(), 'build/Release/mock_node'), [], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
let gateway: Gateway
let nodeUrl = ''
const sockets: Socket[] = []

beforeAll(async () => {
  const [line] = (await once(createInterface({ input: node.stdout }), 'line')) as [string]
  const { url } = JSON.parse(line) as { url: string }
  nodeUrl = url
  gateway = await startGateway([url], ['--threads', '1'])
  await healthy(gateway, 1)
})

afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  expect(await gateway.stop()).toBe(0)
  node.kill()
})

function residentBytes(): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
}

/** Asks for the long stream and never reads. */
function stalledClient(): Socket {
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1')
  sockets.push(socket)
  socket.pause()
  const long = body(LONG_TOKENS)
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${long.length}\r\n\r\n${long}`,
  )
  return socket
}

async function short(origin = gateway.url): Promise<number> {
  const start = performance.now()
  const headers = { 'content-type': 'application/json' }
  const reply = await fetch(`${origin}/v1/chat/completions`, {
    method: 'POST',
    headers,
    body: body(1),
  })
  expect(await reply.text()).toContain('[DONE]')
  return performance.now() - start
}

test.skipIf(process.platform !== 'linux')(
  'stalled readers of 500 MB cost little, are cut, and slow nobody',
  async () => {
    const clients = 40
    // The heap of a young process grows under any load; it has to be done with that first.
    for (let i = 0; i < 4000; i++) await short()
    const alone = await pace(100)
    const before = residentBytes()
    for (let i = 0; i < clients; i++) stalledClient()
    let highest = 0
    const beside: number[] = []
    const direct: number[] = []
    await until(async () => {
      beside.push(await short())
      direct.push(await short(nodeUrl))
      highest = Math.max(highest, residentBytes())
      const cut = gateway.exchanges().filter(line => line['reason'] === 'slow_reader')
      return cut.length === clients
    }, 'the stalled readers to be cut')
    const grownEach = (highest - before) / clients
    // What the machine does to everybody meanwhile shows in the requests without a gateway.
    const slowed = median(beside) / median(direct) / alone
    console.log(`each: ${(grownEach / 2 ** 20).toFixed(2)} MiB; others: ${slowed.toFixed(2)} x`)
    expect(grownEach).toBeLessThan(MEMORY_BYTES_MAX)
    expect(slowed).toBeLessThan(3)
  },
  60_000,
)

/** Time of a request through the gateway, as a multiple of one without, measured in turns. */
async function pace(count: number): Promise<number> {
  const through: number[] = []
  const direct: number[] = []
  for (let i = 0; i < count; i++) {
    through.push(await short())
    direct.push(await short(nodeUrl))
  }
  return median(through) / median(direct)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? 0
}
