import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { HttpProbe, PROBE_BODY_BYTES_MAX } from '../../src/nodes/probe.ts'
import { StandInNode } from './stand_in_node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function setUp() {
  const node = await new StandInNode().listen()
  const probe = new HttpProbe()
  cleanups.push(
    () => probe.close(),
    () => node.kill(),
  )
  return { node, probe }
}

const OPTIONS = { apiKey: null, timeoutMs: 2000 }

describe('HttpProbe', () => {
  test('an answer has status and body, a failing one too', async () => {
    const { node, probe } = await setUp()
    const version = await probe.get(`${node.url}/version`, OPTIONS)
    expect(version).toEqual({ kind: 'answer', status: 200, body: '{"version":"0.32.0"}' })
    node.state.healthStatus = 503
    const health = await probe.get(`${node.url}/health`, OPTIONS)
    expect(health).toEqual({ kind: 'answer', status: 503, body: '' })
  })

  test('the node gets its own key and no other', async () => {
    const { node, probe } = await setUp()
    node.state.apiKey = 'k'
    const url = `${node.url}/v1/models`
    expect(await probe.get(url, OPTIONS)).toMatchObject({ status: 401 })
    expect(await probe.get(url, { ...OPTIONS, apiKey: 'k' })).toMatchObject({ status: 200 })
  })

  test('silence ends at the deadline, before the headers and within the body', async () => {
    const { node, probe } = await setUp()
    node.state.hung.add('/health')
    node.onData = (_, response) => void response.write('half')
    const short = { apiKey: null, timeoutMs: 30 }
    expect(await probe.get(`${node.url}/health`, short)).toEqual({ kind: 'timeout' })
    expect(await probe.get(`${node.url}/half`, short)).toEqual({ kind: 'timeout' })
    await expect.poll(() => node.socketsOpen).toBe(0)
  })

  test('a gateway that was itself held up blames no node', async () => {
    const { node, probe } = await setUp()
    node.onData = (_, response) => {
      response.end('in time')
      // The answer is on its way, and this thread is busy past the deadline.
      const busyUntil = performance.now() + 120
      while (performance.now() < busyUntil);
    }
    const reply = await probe.get(`${node.url}/x`, { apiKey: null, timeoutMs: 50 })
    expect(reply).toEqual({ kind: 'answer', status: 200, body: 'in time' })
  })

  test('nobody listening is refused, a broken connection reset, nonsense reset', async () => {
    const { node, probe } = await setUp()
    node.onData = request => request.socket.resetAndDestroy()
    expect(await probe.get(`${node.url}/x`, OPTIONS)).toEqual({ kind: 'reset' })
    await node.kill()
    expect(await probe.get(`${node.url}/x`, OPTIONS)).toEqual({ kind: 'refused' })

    const rude = createServer(socket => void socket.resume().end('SSH-2.0-hello\r\n'))
    await new Promise<void>(resolve => rude.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => new Promise(resolve => rude.close(resolve)))
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const { port } = rude.address() as AddressInfo
    expect(await probe.get(`http://127.0.0.1:${port}/x`, OPTIONS)).toEqual({ kind: 'reset' })
  })

  test('a body past the limit is cut', async () => {
    const { node, probe } = await setUp()
    const chunk = Buffer.alloc(PROBE_BODY_BYTES_MAX / 2 + 1, 'x')
    node.onData = (_, response) => {
      response.write(chunk)
      response.end(chunk)
    }
    expect((await probe.get(`${node.url}/big`, OPTIONS)).kind).toBe('reset')
  })
})
