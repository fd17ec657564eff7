/**
 * A fleet on a fake clock with fake nodes that misbehave at random, and a checker of what must
 * hold whatever happens. Everything follows from the seed.
 *
 *     FakeNode   ok | refusing | hung | failing (5xx) | client errors (4xx) | slow; restarts
 *                in place, which the KV feed reports or nobody does
 *     traffic    a request every 20 ms to a random candidate of the published view
 *     checker    runs after every event
 */
import { type HealthTimings, nodeEntrySchema } from '../../src/nodes/config.ts'
import { Fleet } from '../../src/nodes/fleet.ts'
import type { FleetView, OutcomeKind } from '../../src/nodes/fleet_view.ts'
import { OutcomeReporter } from '../../src/nodes/outcome_reporter.ts'
import type { Probe, ProbeOptions, ProbeReply } from '../../src/nodes/probe.ts'
import { FakeClock, seededRandom } from './fake_clock.ts'
import { metricsText } from './stand_in_node.ts'

const MODES = ['ok', 'ok', 'refusing', 'hung', 'failing', 'clientErrors', 'slow'] as const
type Mode = (typeof MODES)[number]

/** A node that answers is a candidate again within this (ms). */
const BACK_MS_MAX = 2000
/** The same for a node that takes up to 0.8 s for each control path, in turn. */
const BACK_SLOW_MS_MAX = 3800
/** Answers of a slow time that are still under way may delay what follows by two of them. */
const SLOW_ANSWERS_MS = 1600
/** So long after a slow time the bounds above are the usual ones again. */
const SLOW_TAIL_MS = 6000
/** A node that refuses is no candidate after one interval and the check's own way. */
const REFUSING_MS_MAX = 1100
/** A node that is silent is no candidate after one interval and two timeouts. */
const HUNG_MS_MAX = 3200
/** A restart in place is noticed by the next scrape. */
const STALE_BLOCKS_MS_MAX = 2500
/** Two discoveries of four questions each, a check and a scrape. */
const PROBES_OPEN_MAX = 10
const REQUEST_EVERY_MS = 20
const REQUEST_TIMEOUT_MS = 300
const SLOTS = 12
const DONE = Promise.resolve(null)

function body(value: unknown): ProbeReply {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return { kind: 'answer', status: 200, body: text }
}

class FakeNode {
  readonly url: string
  mode: Mode = 'ok'
  /** Since when the node has answered everything; null while it does not. */
  answersSinceMs: number | null
  modeSinceMs: number
  process = 1
  processSinceMs: number
  probesOpen = 0
  #slowUntilMs = Number.NEGATIVE_INFINITY

  constructor(url: string, nowMs: number) {
    this.url = url
    this.answersSinceMs = nowMs
    this.modeSinceMs = nowMs
    this.processSinceMs = nowMs
  }

  enter(mode: Mode, nowMs: number): void {
    if (mode === 'refusing' && this.mode !== 'refusing') this.#newProcess(nowMs)
    if (this.mode === 'slow') this.#slowUntilMs = nowMs
    this.mode = mode
    this.modeSinceMs = nowMs
    const answers = mode === 'ok' || mode === 'clientErrors' || mode === 'slow'
    this.answersSinceMs = answers ? (this.answersSinceMs ?? nowMs) : null
  }

  /** Slow now, or so lately that its answers are still on their way. */
  wasSlow(nowMs: number): boolean {
    return this.mode === 'slow' || nowMs - this.#slowUntilMs < SLOW_TAIL_MS
  }

  restartInPlace(nowMs: number): void {
    this.#newProcess(nowMs)
    this.answersSinceMs = this.answersSinceMs === null ? null : nowMs
  }

  #newProcess(nowMs: number): void {
    this.process++
    this.processSinceMs = nowMs
  }

  control(path: string): ProbeReply {
    switch (path) {
      case '/health':
        return body('')
      case '/v1/models':
        return body({ object: 'list', data: [{ id: 'm', parent: null }] })
      case '/version':
        return body({ version: '0.32.0' })
      case '/metrics':
        return body(metricsText(this.process))
      case '/kv_event_sources':
        return body({ '0': { enable_kv_cache_events: true, endpoint: 'tcp://*:5557' } })
      default:
        return { kind: 'answer', status: 404, body: '' }
    }
  }
}

export interface SimulationOptions {
  readonly timings: HealthTimings
  /** How the gateway reports a client's mistake; a bug would say `status5xx`. */
  readonly clientErrorAs: OutcomeKind
  /** Without traffic only the active checks see anything. */
  readonly hasTraffic: boolean
}

export class Simulation {
  readonly clock = new FakeClock()
  readonly violations: string[] = []
  readonly freed: number[] = []
  viewCount = 0
  outs = 0
  readonly #random: () => number
  readonly #options: SimulationOptions
  readonly #nodes = new Map<string, FakeNode>()
  readonly #fleet: Fleet
  readonly #reporter: OutcomeReporter
  /** Process whose blocks a slot shows; absent = none are visible. */
  readonly #blocks = new Map<number, { node: FakeNode; process: number }>()
  /** Slots whose blocks are invisible, since when; only a command to the writer ends that. */
  readonly #hidden = new Map<number, number>()
  readonly #slotsInUse = new Set<number>()
  readonly #inFlight = new Map<number, number>()
  #ports = 8000

  constructor(seed: number, options: SimulationOptions) {
    this.#random = seededRandom(seed)
    this.#options = options
    const { clock } = this
    const probe: Probe = { get: (url, how) => this.#probe(url, how) }
    this.#fleet = new Fleet({
      clock,
      probe,
      timings: options.timings,
      slotsMax: SLOTS,
      models: [],
      log: { info: () => {}, warn: () => {} },
      prefixIndexFor: () => 1,
      inFlightOf: slot => this.#inFlight.get(slot) ?? 0,
      kvFeed: {
        subscribe: ({ slot, nodeId }) => {
          this.#hidden.delete(slot)
          const node = this.#nodes.get(nodeId)
          if (node !== undefined) this.#blocks.set(slot, { node, process: node.process })
          return DONE
        },
        clear: slot => this.#cleared(slot),
        unsubscribe: slot => this.#cleared(slot),
      },
      onSlotRestarted: slot => this.#hide(slot),
      onSlotFreed: slot => this.#slotFreed(slot),
      onView: view => this.#viewed(view),
    })
    this.#reporter = new OutcomeReporter(clock, outcome => this.#fleet.report(outcome))
  }

  async run(durationMs: number): Promise<void> {
    for (let i = 0; i < 4; i++) this.#add()
    this.#fleet.start()
    if (this.#options.hasTraffic) this.#every(REQUEST_EVERY_MS, () => this.#request())
    this.#every(700, () => this.#upset())
    await this.clock.advanceTo(durationMs, () => this.#check())
    this.#fleet.stop()
  }

  #every(ms: number, run: () => void): void {
    this.clock.after(ms, () => {
      run()
      this.#every(ms, run)
    })
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#random() * items.length)]
  }

  #add(): void {
    const id = `10.0.0.1:${this.#ports++}`
    const node = new FakeNode(`http://${id}`, this.clock.nowMs())
    this.#nodes.set(id, node)
    this.#fleet.add(nodeEntrySchema.parse({ url: node.url }))
  }

  #upset(): void {
    const nowMs = this.clock.nowMs()
    const id = this.#pick([...this.#nodes.keys()])
    const node = id === undefined ? undefined : this.#nodes.get(id)
    const dice = this.#random()
    if (id !== undefined && dice < 0.04) {
      this.#nodes.delete(id)
      this.#fleet.remove(id)
    } else if (dice < 0.12 && this.#nodes.size < 6) {
      this.#add()
    } else if (dice < 0.25) {
      node?.restartInPlace(nowMs)
      if (node !== undefined && this.#random() < 0.5) this.#reportRestart(node)
    } else {
      node?.enter(this.#pick(MODES) ?? 'ok', nowMs)
    }
  }

  #reportRestart(node: FakeNode): void {
    this.clock.after(this.#random() * 50, () => {
      for (const [slot, shown] of this.#blocks) {
        if (shown.node !== node || shown.process === node.process) continue
        // The feed drops the old blocks by itself, then tells.
        this.#blocks.set(slot, { node, process: node.process })
        this.#fleet.kvFeedReport({ slot, state: 'live', restarted: true })
        return
      }
    })
  }

  /** Resolves after the answer's way, or the timeout, on the fake clock. */
  #probe(url: string, { timeoutMs }: ProbeOptions): Promise<ProbeReply> {
    const { host, pathname } = new URL(url)
    const node = this.#nodes.get(host)
    const later = (ms: number, reply: () => ProbeReply) =>
      new Promise<ProbeReply>(resolve => {
        if (node !== undefined) node.probesOpen++
        this.clock.after(ms, () => {
          if (node !== undefined) node.probesOpen--
          resolve(reply())
        })
      })
    if (node === undefined || node.mode === 'refusing') {
      return later(1, () => ({ kind: 'refused' }))
    }
    if (node.mode === 'hung') return later(timeoutMs, () => ({ kind: 'timeout' }))
    const { process } = node
    const answer = node.control(pathname)
    const reply = (): ProbeReply => (process === node.process ? answer : { kind: 'reset' })
    // Under failing, /health still answers: only the exchanges see it.
    const slowest = node.mode === 'slow' ? 800 : 20
    return later(1 + this.#random() * slowest, reply)
  }

  #request(): void {
    const { view } = this.#fleet
    const target = this.#pick(view.nodes.filter(node => node.state === 'healthy'))
    const rank = target?.ranks[0]
    const node = target === undefined ? undefined : this.#nodes.get(target.id)
    if (target === undefined || node === undefined || rank === undefined) return
    const inFlight = this.#inFlight.get(rank.slot) ?? 0
    if (inFlight >= target.inFlightMax) return
    this.#inFlight.set(rank.slot, inFlight + 1)
    const { process } = node
    const [ms, kind] = this.#fate(node)
    this.clock.after(ms, () => {
      this.#inFlight.set(rank.slot, (this.#inFlight.get(rank.slot) ?? 0) - 1)
      // The process died under the request.
      this.#reporter.note(target, process === node.process ? kind : 'reset')
    })
  }

  #fate(node: FakeNode): [number, OutcomeKind] {
    const { clientErrorAs } = this.#options
    const fates: Record<Mode, [number, OutcomeKind]> = {
      ok: [5 + this.#random() * 200, 'ok'],
      clientErrors: [5, clientErrorAs],
      failing: [5, 'status5xx'],
      refusing: [1, 'refused'],
      hung: [REQUEST_TIMEOUT_MS, 'timeout'],
      slow: [REQUEST_TIMEOUT_MS, 'ok'],
    }
    return fates[node.mode]
  }

  #viewed(view: FleetView): void {
    this.#reporter.follow(view)
    if (view.version !== ++this.viewCount) this.#violate(`version ${view.version}`)
    const ids = view.nodes.map(node => node.id)
    if (ids.join() !== [...new Set(ids)].sort().join()) this.#violate(`ids ${ids.join()}`)
    const slots = view.nodes.flatMap(node => node.ranks.map(rank => rank.slot))
    if (new Set(slots).size !== slots.length) this.#violate(`slot twice in a view: ${slots.join()}`)
    for (const slot of slots) this.#slotsInUse.add(slot)
    this.outs += view.nodes.filter(node => node.state === 'unhealthy').length
  }

  #cleared(slot: number): Promise<null> {
    this.#blocks.delete(slot)
    this.#hidden.delete(slot)
    return DONE
  }

  #hide(slot: number): void {
    this.#blocks.delete(slot)
    this.#hidden.set(slot, this.clock.nowMs())
  }

  #slotFreed(slot: number): void {
    this.#hide(slot)
    this.freed.push(slot)
    if (!this.#slotsInUse.delete(slot)) this.#violate(`slot ${slot} freed twice`)
    if ((this.#inFlight.get(slot) ?? 0) > 0) this.#violate(`slot ${slot} freed under a lease`)
    const isSeen = this.#fleet.view.nodes.some(node => node.ranks.some(rank => rank.slot === slot))
    if (isSeen) this.#violate(`slot ${slot} freed while its node is in the view`)
  }

  #check(): void {
    const nowMs = this.clock.nowMs()
    for (const [id, node] of this.#nodes) {
      const seen = this.#fleet.view.nodes.find(one => one.id === id)
      if (node.probesOpen > PROBES_OPEN_MAX)
        this.#violate(`${node.probesOpen} probes open to ${id}`)
      const isCandidate = seen?.state === 'healthy'
      const modeMs = nowMs - node.modeSinceMs
      if (node.answersSinceMs !== null) {
        const answersMs = nowMs - node.answersSinceMs
        const backMsMax = node.wasSlow(nowMs) ? BACK_SLOW_MS_MAX : BACK_MS_MAX
        if (!isCandidate && answersMs > backMsMax) {
          this.#violate(`${id} answers for ${answersMs} ms and is ${seen?.state}`)
        }
      }
      if (isCandidate && node.mode === 'refusing' && modeMs > REFUSING_MS_MAX) {
        this.#violate(`${id} refuses for ${modeMs} ms and is a candidate`)
      }
      const hungMsMax = HUNG_MS_MAX + (node.wasSlow(nowMs) ? SLOW_ANSWERS_MS : 0)
      if (isCandidate && node.mode === 'hung' && modeMs > hungMsMax) {
        this.#violate(`${id} hangs for ${modeMs} ms and is a candidate`)
      }
    }
    for (const { indexId, ranks } of this.#fleet.view.nodes) {
      if (indexId === 0) continue
      const slot = ranks.find(rank => this.#hidden.has(rank.slot))?.slot
      if (slot !== undefined) this.#violate(`slot ${slot} is subscribed and hidden`)
    }
    for (const [slot, { node, process }] of this.#blocks) {
      const isStale = process !== node.process && node.answersSinceMs !== null
      const sinceMs = Math.max(node.processSinceMs, node.answersSinceMs ?? 0)
      const staleMsMax = STALE_BLOCKS_MS_MAX + (node.wasSlow(nowMs) ? SLOW_ANSWERS_MS : 0)
      if (isStale && nowMs - sinceMs > staleMsMax) {
        this.#violate(`slot ${slot} shows blocks of a dead process for ${nowMs - sinceMs} ms`)
      }
    }
  }

  #violate(what: string): void {
    if (this.violations.length < 5) this.violations.push(`${this.clock.nowMs()} ms: ${what}`)
  }
}
