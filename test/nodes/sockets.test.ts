import type { ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import type { Dispatcher } from 'undici'
import { afterEach, describe, expect, test } from 'vitest'
import type { FleetView } from '../../src/nodes/fleet_view.ts'
import { classifySocketError } from '../../src/nodes/socket_errors.ts'
import { NodeSockets, type SocketTarget } from '../../src/nodes/sockets.ts'
import { StandInNode } from './stand_in_node.ts'

interface Outcome {
  readonly status: number
  readonly body: string
  readonly error: Error | null
}

function send(sockets: NodeSockets, node: SocketTarget, path = '/x'): Promise<Outcome> {
  const request = { path, method: 'POST', body: '{}' } as const
  return new Promise(resolve => sockets.dispatch(node, request, new Collect(resolve)))
}

class Collect implements Dispatcher.DispatchHandler {
  readonly #resolve: (outcome: Outcome) => void
  #status = 0
  #body = ''
  constructor(resolve: (outcome: Outcome) => void) {
    this.#resolve = resolve
  }
  onRequestStart(): void {}
  onResponseStart(_: Dispatcher.DispatchController, status: number): void {
    this.#status = status
  }
  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body += chunk.toString()
  }
  onResponseEnd(): void {
    this.#resolve({ status: this.#status, body: this.#body, error: null })
  }
  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#resolve({ status: this.#status, body: this.#body, error })
  }
}

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function setUp(options = {}, keepAliveTimeoutMs = 5000) {
  const node = await new StandInNode().listen(keepAliveTimeoutMs)
  const sockets = new NodeSockets({ connectTimeoutMs: 1000, ...options })
  cleanups.push(
    () => sockets.close(),
    () => node.kill(),
  )
  return { node, sockets, target: { id: `127.0.0.1:${node.port}`, url: node.url } }
}

function viewOf(...targets: SocketTarget[]): FleetView {
  const nodes = targets.map(target => ({
    ...target,
    state: 'healthy' as const,
    epoch: 1,
    apiKey: null,
    models: [],
    indexModel: '',
    ranks: [],
    blockSize: 0,
    blockCount: 0,
    kvEvents: 'none' as const,
    indexId: 0,
    inFlightMax: 1,
  }))
  return { version: 1, nodes, models: [] }
}

describe('NodeSockets', () => {
  test('10,000 sequential requests open no more sockets than the pool has', async () => {
    const { node, sockets, target } = await setUp({ connectionsMax: 4 })
    for (let i = 0; i < 10_000; i++) {
      const { status, error } = await send(sockets, target)
      if (status !== 200) throw error ?? new Error(`status ${status}`)
    }
    expect(node.requests.length).toBe(10_000)
    expect(node.socketsOpened).toBeLessThanOrEqual(4)
  }, 60_000)

  test('requests side by side use one socket each, up to the bound of the pool', async () => {
    const { node, sockets, target } = await setUp({ connectionsMax: 3 })
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => send(sockets, target)))
    expect(outcomes.every(outcome => outcome.status === 200)).toBe(true)
    expect(node.socketsOpened).toBe(3)
  })

  test('a socket that the node closed while it was idle never surfaces as an error', async () => {
    // The node closes after 20 ms of silence, much sooner than our own idle timer would.
    const { node, sockets, target } = await setUp({}, 20)
    for (let round = 0; round < 5; round++) {
      const { status, error } = await send(sockets, target)
      expect(error).toBeNull()
      expect(status).toBe(200)
      await expect.poll(() => node.socketsOpen, { interval: 5, timeout: 10_000 }).toBe(0)
    }
  })

  test('an idle socket is closed from this side before the 5 s of uvicorn', async () => {
    const { node, sockets, target } = await setUp({}, 60_000)
    await send(sockets, target)
    const idleSince = performance.now()
    await expect.poll(() => node.socketsOpen, { interval: 20, timeout: 10_000 }).toBe(0)
    const idleMs = performance.now() - idleSince
    expect(idleMs).toBeGreaterThan(3000)
    expect(idleMs).toBeLessThan(4900)
  })

  test('nobody listening is "refused", a connection that breaks is "reset"', async () => {
    const { node, sockets, target } = await setUp()
    node.onData = request => request.socket.resetAndDestroy()
    const broken = await send(sockets, target)
    expect(classifySocketError(broken.error)).toBe('reset')
    await node.kill()
    const refused = await send(sockets, target)
    expect(classifySocketError(refused.error)).toBe('refused')
    const byName = { id: `localhost:${node.port}`, url: `http://localhost:${node.port}` }
    expect(classifySocketError((await send(sockets, byName)).error)).toBe('refused')
  })

  test('a body cut in the middle is an error, not an end', async () => {
    const { node, sockets, target } = await setUp()
    node.onData = (request, response) => {
      response.writeHead(200, { 'content-length': '10' })
      response.write('abc', () => request.socket.destroy())
    }
    const outcome = await send(sockets, target)
    expect(outcome.body).toBe('abc')
    expect(classifySocketError(outcome.error)).toBe('reset')
  })

  test('a node that left the view finishes what is in flight, then its sockets close', async () => {
    const { node, sockets, target } = await setUp()
    const responses: ServerResponse[] = []
    node.onData = (_, response) => {
      response.write('first')
      responses.push(response)
    }
    const pending = send(sockets, target)
    await expect.poll(() => sockets.stats(target).running).toBe(1)
    sockets.retain(viewOf())
    responses[0]?.end('last')
    expect(await pending).toMatchObject({ body: 'firstlast', error: null })
    await sockets.settled()
    await expect.poll(() => node.socketsOpen).toBe(0)
  })

  test('a node that stays keeps its sockets over a new view', async () => {
    const { node, sockets, target } = await setUp()
    for (let i = 0; i < 10; i++) {
      await send(sockets, target)
      sockets.retain(viewOf(target))
    }
    // Two, because a socket is free again only one turn after its response ended.
    expect(node.socketsOpened).toBeLessThanOrEqual(2)
  })

  test('close ends sockets at once, those of departed nodes too', async () => {
    const { node, sockets, target } = await setUp()
    node.onData = (_, response) => void response.write('never ends')
    const first = send(sockets, target)
    await expect.poll(() => sockets.stats(target).running).toBe(1)
    sockets.retain(viewOf())
    const second = send(sockets, target)
    await expect.poll(() => sockets.stats(target).running).toBe(1)
    await sockets.close()
    expect((await first).error).not.toBeNull()
    expect((await second).error).not.toBeNull()
    await expect.poll(() => node.socketsOpen).toBe(0)
  })
})
