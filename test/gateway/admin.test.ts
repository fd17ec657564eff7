/**
 * The admin port and the configuration file of a running gateway, as operators use them: nodes
 * come and go, and no request and no typing error ends the process.
 */
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSimNode } from '../../src/sim/sim_node.ts'
import type { Gateway } from './gateway.ts'
import { healthy, startGateway, until } from './gateway.ts'

type SimNode = Awaited<ReturnType<typeof startSimNode>>
interface NodeState {
  readonly id: string
  readonly state: string
}

let folder = ''
let first: SimNode
let second: SimNode

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'warmpath-admin-'))
  first = await startSimNode({ timeFactor: 0 })
  second = await startSimNode({ timeFactor: 0 })
})

afterAll(async () => {
  await first.close()
  await second.close()
  await rm(folder, { recursive: true })
})

async function nodesOf({ admin }: Gateway): Promise<NodeState[]> {
  return (await (await fetch(`${admin}/admin/nodes`)).json()) as NodeState[]
}

function file(text: string): string {
  const name = path.join(folder, 'warmpath.yaml')
  writeFileSync(name, text)
  return name
}

/** A request without a body and without its length, as `curl -X POST` sends it; the whole answer. */
async function bare({ admin }: Gateway, method: string, target: string): Promise<string> {
  const socket = connect(Number(new URL(admin).port), '127.0.0.1')
  socket.write(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
  let answer = ''
  for await (const chunk of socket as AsyncIterable<Buffer>) answer += chunk.toString()
  return answer
}

describe('the admin port', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway([first.url], ['--threads', '1'])
    await healthy(gateway, 1)
  })
  afterAll(async () => {
    expect(await gateway.stop()).toBe(0)
  })

  test('adds, drains and removes a node', async () => {
    const body = JSON.stringify({ url: second.url })
    const added = await fetch(`${gateway.admin}/admin/nodes`, { method: 'POST', body })
    expect(added.status).toBe(202)
    await healthy(gateway, 2)
    const drained = await bare(gateway, 'POST', `/admin/nodes/${second.id}/drain`)
    expect(drained).toMatch(/^HTTP\/1\.1 202 /)
    expect(drained.match(/connection: close/gi)).toHaveLength(1)
    await until(async () => {
      const node = (await nodesOf(gateway)).find(({ id }) => id === second.id)
      return node?.state === 'draining'
    }, 'the node to drain')
    const url = `${gateway.admin}/admin/nodes/${encodeURIComponent(second.id)}`
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(202)
    await until(async () => (await nodesOf(gateway)).length === 1, 'the node to be gone')
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(404)
  })

  test.each([
    ['DELETE', '/admin/nodes/%zz', 400, null],
    ['DELETE', '/admin/nodes', 405, 'GET, POST'],
    ['GET', '/admin/nodes/a', 405, 'DELETE'],
    ['DELETE', '/metrics', 405, 'GET'],
    ['DELETE', '/health', 405, 'GET'],
    ['GET', '/nothing', 404, null],
  ])('%s %s is %i', async (method, target, status, allowed) => {
    const reply = await fetch(`${gateway.admin}${target}`, { method })
    expect(reply.status).toBe(status)
    expect(reply.headers.get('allow')).toBe(allowed)
    expect(await reply.json()).toMatchObject({ error: { message: expect.any(String) } })
  })

  test.each(['/metrics', '/health', '/nothing'])('HEAD %s has no body', async target => {
    const socket = connect(Number(new URL(gateway.admin).port), '127.0.0.1')
    socket.write(`HEAD ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
    let answer = ''
    let isSecondAsked = false
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      answer += chunk.toString()
      if (isSecondAsked && answer.split('HTTP/1.1').length > 2) break
      if (!isSecondAsked) socket.write('GET /health HTTP/1.1\r\nHost: a\r\n\r\n')
      isSecondAsked = true
    }
    // The second answer follows the head of the first: there was no body between them.
    expect(answer).toMatch(/^HTTP\/1\.1 \d+ [^]*?\r\n\r\nHTTP\/1\.1 200 /)
  })

  test('an entry that the file would refuse is refused', async () => {
    const body = JSON.stringify({ url: second.url, kv_replay: 'tcp://127.0.0.1:9' })
    const reply = await fetch(`${gateway.admin}/admin/nodes`, { method: 'POST', body })
    expect(reply.status).toBe(400)
    expect(await reply.text()).toContain('kv_events')
  })
})

test("an admin key is the gateway's own, also where no API key is asked", async () => {
  const key = 'an-operators-key'
  const gateway = await startGateway([first.url], ['--threads', '1', '--admin-key', key])
  const authorization = `Bearer ${key}`
  const page = { headers: { authorization } }
  await until(async () => (await fetch(`${gateway.url}/ready`)).ok, 'the node to be healthy')
  const reply = await fetch(`${gateway.url}/v1/completions`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: '{"model":"sim","prompt":"x","max_tokens":1}',
  })
  expect(reply.status).toBe(200)
  const seen = first.requests.findLast(({ method }) => method === 'POST')
  expect(seen?.rawHeaders.join('\n')).toMatch(/x-request-id/i)
  expect(seen?.rawHeaders.join('\n')).not.toContain(key)
  expect((await fetch(`${gateway.url}/metrics`, page)).status).toBe(404)
  expect((await fetch(`${gateway.admin}/metrics`, page)).status).toBe(200)
  expect(await gateway.stop()).toBe(0)
})

test('a port in use is told in one line', async () => {
  const port = new URL(first.url).port
  const error = await startGateway([], ['--threads', '1', '--port', port]).catch(String)
  expect(error).toContain(`warmpath: cannot listen on 127.0.0.1:${port}: something listens there`)
  expect(error).not.toContain('    at ')
})

test('a killed gateway leaves no simulated nodes behind', async () => {
  const gateway = await startGateway([], ['--threads', '1'])
  await healthy(gateway, 3)
  const [node] = await nodesOf(gateway)
  gateway.signal('SIGKILL')
  await gateway.exited
  const isGone = (): Promise<boolean> =>
    fetch(`http://${node?.id}/health`).then(
      () => false,
      () => true,
    )
  await until(isGone, 'the nodes to end')
})

describe('the file of a running gateway', () => {
  test('with a wrong alias changes nothing, and says where', async () => {
    const good = `threads: 1\nnodes:\n  - url: ${first.url}\n`
    const gateway = await startGateway([], ['--config', file(good)])
    await healthy(gateway, 1)
    file(`${good}  - url: *second\n`)
    const told = await until(
      () => gateway.lines.find(line => line.includes('configuration rejected')),
      'the fault to be told',
    )
    expect(told).toContain('warmpath.yaml:4:10: *second')
    expect((await nodesOf(gateway)).map(({ id }) => id)).toEqual([first.id])
    expect(await gateway.stop()).toBe(0)
  })

  test('that gets keys hides the metrics of the data port', async () => {
    const good = `threads: 1\nnodes:\n  - url: ${first.url}\n`
    const gateway = await startGateway([], ['--config', file(good)])
    expect((await fetch(`${gateway.url}/metrics`)).status).toBe(200)
    file(`${good}api_keys: [a-key-of-a-tenant]\n`)
    await until(async () => (await fetch(`${gateway.url}/metrics`)).status === 404, 'no metrics')
    expect(await gateway.stop()).toBe(0)
  })

  test('that gets its first nodes takes the place of the simulated ones', async () => {
    const gateway = await startGateway([], ['--config', file('threads: 1\n')])
    await healthy(gateway, 3)
    file(`threads: 1\nnodes:\n  - url: ${first.url}\n`)
    await until(async () => {
      const ids = (await nodesOf(gateway)).map(({ id }) => id)
      return ids.length === 1 && ids[0] === first.id
    }, 'the real node alone')
    expect(await gateway.stop()).toBe(0)
  })
})
