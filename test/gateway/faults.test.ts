/**
 * Nodes that fail, clients that leave: what measured gateways do wrong is right here. Each fact
 * holds with one gateway thread and with two.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { packageRoot } from '../../src/native/package_root.ts'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import type { Gateway } from './gateway.ts'
import { healthy, leases, metric, startGateway, until } from './gateway.ts'
import { startTcpRelay } from './tcp_relay.ts'

const CHAT = '/v1/chat/completions'

function body(content: string, extra: Record<string, unknown> = {}): string {
  const messages = [{ role: 'user', content }]
  return JSON.stringify({ model: 'sim', messages, max_tokens: 8, ...extra })
}

function post(origin: string, text: string, signal: AbortSignal | null = null): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  return fetch(origin + CHAT, { method: 'POST', headers, body: text, signal })
}

function spread(sorted: readonly number[]): string {
  return `${sorted[sorted.length >> 1]?.toFixed(1)} ms, worst ${sorted.at(-1)?.toFixed(1)} ms`
}

describe.each([1, 2])('with %i gateway threads', threads => {
  let nodes: SimNode[] = []
  let gateway: Gateway

  beforeEach(async () => {
    nodes = await Promise.all([0, 1].map(() => startSimNode({ timeFactor: 0.05 })))
    const urls = nodes.map(node => node.url)
    gateway = await startGateway(urls, ['--threads', String(threads)])
    await healthy(gateway, 2)
  })

  afterEach(async () => {
    await until(async () => (await leases(gateway)) === 0, 'the lease table to return to zero')
    expect(await gateway.stop()).toBe(0)
    await Promise.all(nodes.map(node => node.close()))
  })

  /** Milliseconds from the client's abort to the moment at which a node noticed it. */
  async function abortDelay(origin: string, phase: 'prefill' | 'decode'): Promise<number> {
    if (phase === 'prefill') for (const node of nodes) await node.fault({ kind: 'freeze' })
    const seen = aborts().length
    const controller = new AbortController()
    const text = body(`${phase} ${origin} ${seen}`, { stream: true, max_tokens: 4000 })
    const asked = post(origin, text, controller.signal)
    if (phase === 'decode') await (await asked).body?.getReader().read()
    else await until(() => nodes.some(node => node.activeSequences > 0), 'the request')
    const left = performance.now()
    controller.abort()
    await asked.catch(() => {})
    await until(() => aborts().length > seen, 'the abort at the node')
    for (const node of nodes) await node.fault({ kind: 'clear' })
    return Math.max(...aborts()) - left
  }

  function aborts(): number[] {
    return nodes.flatMap(node => node.aborts.map(abort => abort.at))
  }

  test('a node that dies in mid-stream ends the stream by an error event', async () => {
    for (const node of nodes) await node.fault({ kind: 'die', events: 3, times: 1 })
    const reply = await post(gateway.url, body('x', { stream: true }))
    const text = await reply.text()
    expect(reply.status).toBe(200)
    expect(text).not.toContain('[DONE]')
    const events = text.trimEnd().split('\n\n')
    expect(events.length).toBe(4)
    expect(JSON.parse(events.at(-1)?.slice('data: '.length) ?? '')).toMatchObject({
      error: { code: 'upstream_error' },
    })
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })

  test('a stream that a node cuts short is an error', async () => {
    for (const node of nodes) await node.fault({ kind: 'cut', events: 2, times: 1 })
    const text = await (await post(gateway.url, body('x', { stream: true }))).text()
    expect(text).not.toContain('[DONE]')
    expect(text).toContain('"upstream_error"')
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })

  test("the engine's own error event passes unchanged, with its [DONE]", async () => {
    for (const node of nodes) await node.fault({ kind: 'stream_error', events: 2, times: 1 })
    const text = await (await post(gateway.url, body('x', { stream: true }))).text()
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true)
    expect(text).not.toContain('upstream_error')
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })

  test.each([
    ['a [DONE] without a token', { kind: 'empty_done', times: 1 }],
    ['a full engine queue', { kind: 'queue_full', times: 1 }],
    ['a status of 500', { kind: 'status', status: 500, times: 1 }],
    ['a reset before the first byte', { kind: 'die', events: 0, times: 1 }],
  ] as const)('%s is retried on the other node', async (_, fault) => {
    // The text of the fault goes to whichever node is asked first; the other one is well.
    await nodes[0]?.fault(fault)
    for (let i = 0; i < 6; i++) {
      const reply = await post(gateway.url, body(`${fault.kind} ${i}`, { stream: true }))
      expect(reply.status).toBe(200)
      expect((await reply.text()).trimEnd().endsWith('data: [DONE]')).toBe(true)
    }
    // An exchange is booked behind the turn in which its last bytes left.
    const complete = 'warmpath_exchanges_total{reason="complete"}'
    await until(async () => (await metric(gateway, complete)) === 6, 'six complete exchanges')
    await nodes[0]?.fault({ kind: 'clear' })
  })

  test('when every node refuses the work, its own answer is passed on', async () => {
    for (const node of nodes) await node.fault({ kind: 'queue_full' })
    const reply = await post(gateway.url, body('x'))
    expect(reply.status).toBe(503)
    expect(await reply.text()).toContain('Service Unavailable')
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })

  test('both nodes down: 503 with Retry-After; one that is back gets work in 2 s', async () => {
    for (const node of nodes) await node.fault({ kind: 'refuse' })
    const refused = await until(async () => {
      const reply = await post(gateway.url, body('x'))
      await reply.text()
      return reply.status === 503 ? reply : null
    }, 'a refusal')
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    await nodes[0]?.fault({ kind: 'clear' })
    const back = performance.now()
    await until(async () => {
      const reply = await post(gateway.url, body('y'))
      await reply.text()
      return reply.status === 200
    }, 'an answer')
    expect(performance.now() - back).toBeLessThan(2000)
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })

  test('a request that loses its node waits for one that is out for the moment', async () => {
    // The other node answers no check, as when its machine stands still.
    await nodes[1]?.fault({ kind: 'stall', path: '/health' })
    const other = new URL(nodes[1]?.url ?? '').host
    const isOut = `warmpath_node_state{node="${other}",state="unhealthy"}`
    await until(async () => (await metric(gateway, isOut)) === 1, 'the other node to be out')
    await nodes[0]?.fault({ kind: 'freeze' })
    const asked = post(gateway.url, body('x'))
    await until(async () => (await leases(gateway)) === 1, 'the lease')
    await nodes[0]?.fault({ kind: 'refuse' })
    const refused = 'warmpath_retries_total{reason="refused"}'
    await until(async () => (await metric(gateway, refused)) === 1, 'the wait for a node')
    await nodes[1]?.fault({ kind: 'clear' })
    const reply = await asked
    expect(await reply.text()).toContain('chat.completion')
    expect(reply.status).toBe(200)
    expect(reply.headers.get('x-warmpath-node')).toBe(other)
    await nodes[0]?.fault({ kind: 'clear' })
  })

  test.each(['prefill', 'decode'] as const)('an abort in %s reaches the node', async phase => {
    // 10 ms at the median and 50 ms at worst, on top of what a bare hop through another process
    // takes on this machine at this moment, measured in turns. A machine with other work shows
    // outliers of any size, so one of several series has to keep the bounds.
    const relay = await startTcpRelay(nodes[0]?.url ?? '')
    let isKept = false
    for (let series = 0; series < 6 && !isKept; series++) {
      const bare: number[] = []
      const through: number[] = []
      for (let i = 0; i < 9; i++) {
        bare.push(await abortDelay(relay.url, phase))
        through.push(await abortDelay(gateway.url, phase))
      }
      bare.sort((a, b) => a - b)
      through.sort((a, b) => a - b)
      console.log(`abort in ${phase}: bare hop ${spread(bare)}; gateway ${spread(through)}`)
      const isMedianKept = (through[4] ?? 0) < 10 + (bare[4] ?? 0)
      isKept = isMedianKept && (through[8] ?? 0) < 50 + (bare[8] ?? 0)
    }
    relay.stop()
    expect(isKept).toBe(true)
  })

  test('a request that waits for a place is dropped when its client leaves', async () => {
    for (const node of nodes) await node.fault({ kind: 'freeze' })
    const controller = new AbortController()
    const asked = post(gateway.url, body('x'), controller.signal)
    await until(async () => (await leases(gateway)) === 1, 'the lease')
    controller.abort()
    await asked.catch(() => {})
    await until(async () => (await leases(gateway)) === 0, 'the lease to be given back')
    for (const node of nodes) await node.fault({ kind: 'clear' })
  })
})

/** A simulated node in a process of its own, which can be killed. */
async function spawnNode(port: number): Promise<{ url: string; kill(): Promise<void> }> {
  const cli = path.join(packageRoot(), 'dist/cli.js')
  const args = [cli, 'sim', '--nodes', '1', '--port', String(port), '--time-factor', '0.2']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const { url } = JSON.parse(line) as { url: string }
  return {
    url,
    async kill() {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

/** Tells a simulated node of any process what to do wrong. */
async function tell(node: string, kind: 'freeze' | 'clear'): Promise<void> {
  const reply = await fetch(`${node}/sim/fault`, { method: 'POST', body: JSON.stringify({ kind }) })
  expect(reply.status).toBe(200)
}

/** How one stream ended; `onFirst` hears of its first bytes. */
async function outcomeOf(
  reply: Response,
  onFirst: () => void,
): Promise<'whole' | 'broken' | 'refused'> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of reply.body ?? []) {
    onFirst()
    text += decoder.decode(chunk, { stream: true })
  }
  if (reply.status !== 200) return 'refused'
  if (text.trimEnd().endsWith('data: [DONE]')) return 'whole'
  expect(text).toContain('"error"')
  return 'broken'
}

test('kill -9 of a node under load: what had sent nothing is retried and succeeds', async () => {
  const victim = await spawnNode(0)
  const stay = await startSimNode({ timeFactor: 0.2 })
  const nodes = [victim.url, stay.url]
  const gateway = await startGateway(nodes, ['--threads', '2'])
  await healthy(gateway, 2)
  // All are on the way before the first goes on, however quick or slow this machine is.
  for (const node of nodes) await tell(node, 'freeze')
  let isBegun = false
  const begin = (): void => {
    isBegun = true
  }
  const work = Array.from({ length: 60 }, async (_, i) => {
    const reply = await post(gateway.url, body(`load ${i}`, { stream: true, max_tokens: 40 }))
    return outcomeOf(reply, begin)
  })
  await until(async () => (await leases(gateway)) === 60, 'the load')
  for (const node of nodes) await tell(node, 'clear')
  await until(() => isBegun, 'a first token')
  await victim.kill()
  const outcomes = await Promise.all(work)
  expect(outcomes).not.toContain('refused')
  await until(async () => (await leases(gateway)) === 0, 'the lease table to return to zero')
  expect(await gateway.stop()).toBe(0)
  await stay.close()
})

test.each([1, 2])(
  'SIGTERM under load with %i threads ends with exit 0 and whole streams',
  async threads => {
    const node = await startSimNode({ timeFactor: 0.2 })
    const gateway = await startGateway([node.url], ['--threads', String(threads)])
    await healthy(gateway, 1)
    // No stream ends before all have begun, however slow this machine is.
    await node.fault({ kind: 'freeze' })
    const work = Array.from({ length: 30 }, async (_, i) => {
      const reply = await post(gateway.url, body(`drain ${i}`, { stream: true, max_tokens: 60 }))
      return reply.text()
    })
    await until(async () => (await leases(gateway)) === 30, 'the load')
    const code = gateway.stop()
    await node.fault({ kind: 'clear' })
    const texts = await Promise.all(work)
    expect(texts.filter(text => text.trimEnd().endsWith('data: [DONE]')).length).toBe(30)
    expect(await code).toBe(0)
    await node.close()
  },
)
