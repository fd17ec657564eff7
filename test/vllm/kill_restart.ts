/**
 * One engine is killed with SIGKILL while requests run, and started again.
 *
 *     streams and plain requests on both ── kill ──► retried or ended with an error event
 *     start again ──► /health ──► seen healthy, its blocks gone before it gets work
 */
import { spawn } from 'node:child_process'
import { type Ask, FIXED } from './ask.ts'
import type { EngineBench } from './bench_of_engines.ts'
import type { Engine } from './engine.ts'
import { check, type Report } from './report.ts'
import { msUntil, until } from './until.ts'
import { dataOf, post, type Reply } from './wire.ts'

/** A restarted node must get work again within this (ms), counted from its first /health. */
const BACK_MS_MAX = 2000
const ENGINE_START_MS_MAX = 400_000

interface Running {
  readonly clientId: string
  readonly ended: Promise<Reply | Error>
  node(): string
  events(): number
}

/** The engine itself said that it had reached the limit, behind which nothing but the end came. */
function isWhole(text: string): boolean {
  const data = dataOf(text)
  const isFinished = data.some(event => event.includes('"finish_reason":"length"'))
  return isFinished && data.at(-1) === '[DONE]' && !text.includes('"error"')
}

function start(bench: EngineBench, isStream: boolean, max: number): Running {
  const clientId = bench.prompts.name('running')
  let text = ''
  let node = ''
  const body = {
    model: bench.model,
    prompt: bench.prompts.text(60),
    max_tokens: max,
    ignore_eos: true,
    stream: isStream,
  }
  const ended = post(bench.gateway.url, '/v1/completions', body, {
    headers: { 'x-request-id': clientId },
    onText: (now, from) => {
      text = now
      node = from
    },
  }).catch((error: Error) => error)
  return { clientId, ended, node: () => node, events: () => dataOf(text).length }
}

function chatOf(bench: EngineBench, content: string): Ask {
  const messages = [{ role: 'user', content }]
  const body = { model: bench.model, messages, max_tokens: 2, ...FIXED }
  return { what: 'old prompt', path: '/v1/chat/completions', body }
}

/** Sends prompts until both engines hold some; the texts by node. */
async function seed(bench: EngineBench, victim: Engine): Promise<string[]> {
  const held: string[] = []
  for (let i = 0; i < 40 && held.length < 5; i++) {
    const text = bench.prompts.text(90)
    const { node } = await bench.ask(chatOf(bench, text))
    await bench.settle()
    if (node === victim.id) held.push(text)
  }
  check(held.length >= 5, `${victim.id} got ${held.length} prompts of 40`)
  return held
}

export async function checkKill(
  report: Report,
  bench: EngineBench,
  restartCommand: string | null,
): Promise<void> {
  const [survivor, victim] = bench.engines
  check(survivor !== undefined && victim !== undefined, 'two engines are needed')
  let oldPrompts: readonly string[] = []
  await report.fact('before the kill both engines hold prompts', async () => {
    await bench.reset()
    oldPrompts = await seed(bench, victim)
    const held = bench.engines.map(({ id }) => `${id} ${bench.cache.blocksOf(id)} blocks`)
    return `${held.join(', ')}; ${oldPrompts.length} prompts are at ${victim.id} alone`
  })
  await killUnderLoad(report, bench, victim)
  await checkOthers(report, bench)
  if (await victim.isUp()) return report.note('it still runs: nothing to start again')
  if (restartCommand === null) {
    report.note('no --restart-command: the engine is left as it is')
    return
  }
  await checkReturn(report, bench, [survivor, victim], restartCommand, oldPrompts)
}

async function killUnderLoad(report: Report, bench: EngineBench, victim: Engine): Promise<void> {
  const { gateway } = bench
  const streams = Array.from({ length: 8 }, () => start(bench, true, 1500))
  let plain: Running[] = []
  await report.fact('kill -9 while requests run is noticed', async () => {
    await msUntil(() => streams.every(one => one.events() >= 1), 'streams to begin')
    plain = Array.from({ length: 16 }, () => start(bench, false, 400))
    const inFlight = (): Promise<number> =>
      gateway.metric('warmpath_node_in_flight', `node="${victim.id}"`)
    const count = await until(async () => {
      const all = await gateway.metric('warmpath_node_in_flight')
      return all >= streams.length + plain.length - 2 ? await inFlight() : null
    }, 'requests in flight')
    const pids = victim.kill()
    const isOut = async (): Promise<boolean> => (await gateway.node(victim.id)).state !== 'healthy'
    const [goneMs, outMs] = await Promise.all([
      msUntil(async () => !(await victim.isUp()), 'the port to be closed'),
      msUntil(isOut, 'the node to be out'),
    ])
    return (
      `${pids.length} processes killed with ${count} requests in flight, port closed after ` +
      `${Math.round(goneMs)} ms, node out after ${Math.round(outMs)} ms`
    )
  })
  await report.fact(
    'requests that had sent nothing are retried elsewhere and succeed',
    async () => {
      const replies = await Promise.all(plain.map(({ ended }) => ended))
      const failures = replies.flatMap(one => {
        if (one instanceof Error) return [one.message]
        return one.status === 200 ? [] : [`${one.status} ${one.text}`]
      })
      check(failures.length === 0, `${failures.length} failed: ${failures.join(', ')}`)
      const lines = await Promise.all(plain.map(({ clientId }) => gateway.exchange(clientId)))
      const retried = lines.filter(line => line.retries > 0).length
      check(retried > 0, 'none of them was at the killed engine')
      return `${plain.length} of ${plain.length} answered 200, ${retried} of them retried`
    },
  )
  await report.fact('streams that had begun end with an error event, without [DONE]', async () => {
    const ends: string[] = []
    for (const stream of streams) {
      const reply = await stream.ended
      check(!(reply instanceof Error), 'a stream ended without a reply')
      const data = dataOf(reply.text)
      const last = data.at(-1) ?? ''
      const isCut = last.startsWith('{"error"') && !data.includes('[DONE]')
      // An engine that was quick, or was killed a moment later, has finished some of them.
      const isRight = isWhole(reply.text) || (isCut && stream.node() === victim.id)
      check(isRight, `${stream.node()} ended with ${last}`)
      if (isCut) ends.push(last)
    }
    check(ends.length > 0, 'no stream was at the killed engine')
    return `${ends.length} cut with ${ends[0]}, ${streams.length - ends.length} others whole`
  })
  await report.fact('every lease is given back', async () => {
    const ms = await msUntil(async () => (await gateway.leases()) === 0, 'empty leases')
    return `${Math.round(ms)} ms after the last answer`
  })
}

async function checkOthers(report: Report, bench: EngineBench): Promise<void> {
  await report.fact('new requests go to the other engine', async () => {
    const ids: string[] = []
    for (let i = 0; i < 10; i++) {
      const running = start(bench, i % 2 === 0, 3)
      const reply = await running.ended
      check(!(reply instanceof Error) && reply.status === 200, `request ${i} failed`)
      ids.push(running.clientId)
    }
    const lines = await Promise.all(ids.map(id => bench.gateway.exchange(id)))
    const retried = lines.filter(line => line.retries > 0).length
    return `10 of 10 answered 200, ${retried} retried`
  })
}

async function checkReturn(
  report: Report,
  bench: EngineBench,
  [survivor, victim]: readonly [Engine, Engine],
  restartCommand: string,
  oldPrompts: readonly string[],
): Promise<void> {
  const { gateway, cache } = bench
  const before = await gateway.node(victim.id)
  // What the survivor holds by now is not known; emptied, it holds one block.
  await bench.empty(survivor)
  cache.clear(victim.id)
  await report.fact('a killed and restarted engine is back in time', async () => {
    const command = restartCommand.replaceAll('{port}', String(victim.port))
    const child = spawn('bash', ['-c', command], { stdio: 'ignore' })
    child.unref()
    const startMs = await msUntil(() => victim.isUp(), `${command} to answer`, ENGINE_START_MS_MAX)
    const upMs = performance.now()
    const node = await until(async () => {
      const now = await gateway.node(victim.id)
      return now.state === 'healthy' ? now : null
    }, 'the node to be healthy')
    const backMs = performance.now() - upMs
    check(node.epoch > before.epoch, `its epoch stayed ${node.epoch}`)
    check(backMs <= BACK_MS_MAX, `healthy only ${Math.round(backMs)} ms after its /health`)
    return `start took ${Math.round(startMs / 1000)} s, healthy ${Math.round(backMs)} ms after it`
  })
  await report.fact('its blocks are gone from the index before it gets work', async () => {
    const held = await gateway.heldBlocks()
    check(held === cache.heldBlocks, `${held} blocks are held, not ${cache.heldBlocks}`)
    return `${held} held, all by ${survivor.id}; ${victim.id} holds 0`
  })
  await report.fact('its old prompts are known to be cold', async () => {
    let atVictim = 0
    for (const text of oldPrompts) {
      const answered = await bench.ask(chatOf(bench, text))
      const line = await gateway.exchange(answered.clientId)
      const counts = [line.index_cached, line.reported_cached, answered.cached]
      check(
        counts.every(count => count === 0),
        `${line.node}: ${counts.join(', ')}`,
      )
      if (answered.node === victim.id) atVictim++
      await bench.settle()
    }
    const count = oldPrompts.length
    return `${count} of ${count} predicted 0 and reported 0, ${atVictim} there`
  })
  await report.fact('it gets work again, and its new blocks are known', async () => {
    let hits = 0
    let asked = 0
    for (; asked < 60 && hits < 3; asked++) {
      const text = bench.prompts.text(90)
      const first = await bench.ask(chatOf(bench, text))
      await bench.settle()
      if (first.node !== victim.id) continue
      const again = await bench.ask(chatOf(bench, text))
      await bench.settle()
      const line = await gateway.exchange(again.clientId)
      check(again.node === victim.id && again.cached > 0, `${again.node} ${again.cached}`)
      check(line.index_cached === again.cached, `${line.index_cached} and ${again.cached}`)
      hits++
    }
    check(hits === 3, `${victim.id} got ${hits} of ${asked} prompts`)
    return `${hits} prompts found there again, predicted exactly`
  })
}
