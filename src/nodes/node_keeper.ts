/**
 * Keeps one node: checks it, scrapes it, notices restarts and sleep, and says what it is.
 *
 *     check loop    GET /health ─► health machine; down and answered ─► discovery ─► candidate
 *     scrape loop   GET /metrics, now and then /v1/models; only while the node answers
 *     passive       outcomes of exchanges ─► health machine ─► a check at once when in doubt
 *
 * Each loop awaits its own request before it arms its next timer, so a hung /metrics delays no
 * check, and nothing piles up. After every await the node may have been removed (`#isStopped`).
 *
 * A restart is seen by another process start or version, by counters that ran backwards, by the KV
 * sequence, or, where the engine says nothing of its start, by a refused connection followed by an
 * answer. The order is always: hide the slots' blocks, raise the epoch, only then be a candidate.
 *
 * Blocks belong to the process of `#facts.metrics` or to a later one: a subscription begins only
 * after these metrics were asked for, and every later answer of another process ends it. A restart
 * during the questions themselves costs one drop too many, never a block of a dead process.
 */
import type { Clock } from './clock.ts'
import { type HealthTimings, type NodeEntry, nodeIdOf, originOf } from './config.ts'
import { askIsSleeping, discover, metricsOf, type NodeFacts, readModels } from './discovery.ts'
import type { NodeOutcome, NodeState, NodeView, ServedModel } from './fleet_view.ts'
import { type CheckResult, NodeHealth } from './health.ts'
import type { KvFeedReport } from './kv_feed.ts'
import { NodeRanks, type RankSurroundings } from './node_ranks.ts'
import type { Probe, ProbeOptions, ProbeReply } from './probe.ts'
import { isOtherProcess, type NodeMetrics } from './scrape.ts'

/** Least pause between two checks that exchanges asked for (ms); bounds a storm of resets. */
const CHECK_GAP_MS = 50
/** Requests that a node on trial gets beside those it still has. */
const TRIAL_REQUESTS_MAX = 2
const NO_MODELS: readonly ServedModel[] = []

export interface KeeperSurroundings extends RankSurroundings {
  readonly clock: Clock
  readonly probe: Probe
  readonly timings: HealthTimings
  inFlightOf(slot: number): number
  /** The next epoch of the fleet; epochs are unique, so a node added again has a new one. */
  nextEpoch(): number
  /** Something that others see may have changed. */
  onChange(): void
}

export class NodeKeeper {
  readonly id: string
  readonly url: string
  readonly entry: NodeEntry
  readonly ranks: NodeRanks
  readonly health: NodeHealth
  readonly #around: KeeperSurroundings
  readonly #options: ProbeOptions
  #facts: NodeFacts | null = null
  #epoch = 0
  #isDraining = false
  #isAsleep = false
  #isStopped = false
  #reason = 'not asked yet'
  #metricsAtMs = Number.NEGATIVE_INFINITY
  #modelsAtMs = Number.NEGATIVE_INFINITY
  #checkedAtMs = Number.NEGATIVE_INFINITY
  #isChecking = false
  #isCheckWanted = false
  #isDiscovering = false
  /** A restart was seen, and the new process was not asked yet. */
  #isUnknown = false
  #cancelCheck = () => {}
  #cancelScrape = () => {}
  #cancelTrial = () => {}

  constructor(entry: NodeEntry, around: KeeperSurroundings) {
    this.id = nodeIdOf(entry.url)
    this.url = originOf(entry.url)
    this.entry = entry
    this.#around = around
    this.#options = { apiKey: entry.api_key ?? null, timeoutMs: around.timings.timeout_ms }
    this.ranks = new NodeRanks(this.id, around)
    this.health = new NodeHealth(around.timings)
  }

  get epoch(): number {
    return this.#epoch
  }

  get facts(): NodeFacts | null {
    return this.#facts
  }

  /** Why the node is in its state, for people. */
  get reason(): string {
    return this.#reason
  }

  /** The last scrape, or null when it is too old to be believed. */
  get metrics(): NodeMetrics | null {
    const ageMs = this.#around.clock.nowMs() - this.#metricsAtMs
    return ageMs > this.#around.timings.metrics_stale_ms ? null : (this.#facts?.metrics ?? null)
  }

  get state(): NodeState {
    if (this.#isDraining) return 'draining'
    if (this.health.state.kind === 'starting') return 'starting'
    if (!this.health.isCandidate) return 'unhealthy'
    return this.#isAsleep ? 'sleeping' : 'healthy'
  }

  view(): NodeView {
    const first = this.#facts?.metrics?.ranks[0]
    return {
      id: this.id,
      url: this.url,
      state: this.state,
      epoch: this.#epoch,
      apiKey: this.entry.api_key ?? null,
      models: this.#facts?.models ?? NO_MODELS,
      indexModel: this.ranks.indexModel,
      ranks: this.ranks.views,
      blockSize: first?.blockSize ?? 0,
      blockCount: first?.blockCount ?? 0,
      kvEvents: this.ranks.kvEvents,
      indexId: this.ranks.indexId,
      inFlightMax: this.#inFlightMax(),
    }
  }

  start(): void {
    this.#checkAfter(0)
  }

  /** Ends the loops and gives the slots back. Replies still under way are ignored. */
  stop(): void {
    this.#isStopped = true
    this.#cancelCheck()
    this.#cancelScrape()
    this.#cancelTrial()
    this.ranks.release()
  }

  drain(): void {
    this.#isDraining = true
    this.#reason = 'draining'
    this.#around.onChange()
  }

  /** Takes the outcome of an exchange; one of an earlier process counts for nothing. */
  exchanged(outcome: NodeOutcome): void {
    if (outcome.epoch !== this.#epoch || this.#isStopped) return
    const before = this.health.state.kind
    const isInDoubt = this.health.exchanged(outcome.kind, this.#around.clock.nowMs())
    if (this.health.state.kind !== before) {
      this.#reason = outcome.kind === 'ok' ? 'answers' : `exchange ended: ${outcome.kind}`
    }
    this.#settle()
    if (isInDoubt) this.#checkSoon()
  }

  /** Takes a report of the KV-event thread about one of this node's slots. */
  kvReported(report: KvFeedReport): void {
    // A report of a subscription that has ended is about a process that is known to be gone.
    if (!this.ranks.isSubscribed(report.slot)) return
    this.ranks.reported(report.slot, report.state)
    if (report.restarted) {
      // This feed goes on with whoever answers now, but which process that is nobody has asked.
      this.#restarted('KV sequence ran backwards', report.slot)
      void this.#rediscover()
    }
    this.#around.onChange()
  }

  /** The name of its model in the index may be another now. */
  renamed(): void {
    if (this.#facts === null || this.#isStopped) return
    this.ranks.apply(this.#facts)
    this.#around.onChange()
  }

  #inFlightMax(): number {
    const configured = this.entry.in_flight_max
    if (this.health.state.kind !== 'trial') return configured
    const inFlight = this.ranks.views.map(({ slot }) => this.#around.inFlightOf(slot))
    return Math.min(configured, Math.max(0, ...inFlight) + TRIAL_REQUESTS_MAX)
  }

  #checkAfter(delayMs: number): void {
    this.#cancelCheck()
    this.#cancelCheck = this.#around.clock.after(delayMs, () => void this.#check())
  }

  #checkSoon(): void {
    this.#isCheckWanted = true
    if (this.#isChecking) return
    const elapsedMs = this.#around.clock.nowMs() - this.#checkedAtMs
    this.#checkAfter(Math.max(0, CHECK_GAP_MS - elapsedMs))
  }

  async #check(): Promise<void> {
    const { clock, probe, timings } = this.#around
    this.#isChecking = true
    this.#isCheckWanted = false
    this.#checkedAtMs = clock.nowMs()
    const reply = await probe.get(`${this.url}/health`, this.#options)
    if (this.#isStopped) return
    const result = checkResultOf(reply)
    const { kind } = this.health.state
    if (result === 'alive' && (kind === 'starting' || kind === 'down')) {
      await this.#recover()
      if (this.#isStopped) return
    } else {
      this.health.checked(result)
      if (result !== 'alive') this.#reason = `/health: ${describeReply(reply)}`
    }
    this.#isChecking = false
    this.#settle()
    // One silence or one broken connection says little yet, so the next check follows at once.
    if (result === 'silent' && this.health.isCandidate) this.#isCheckWanted = true
    if (this.#isCheckWanted) this.#checkSoon()
    else {
      const isUp = this.health.isCandidate
      this.#checkAfter(isUp ? timings.interval_ms : timings.unhealthy_interval_ms)
    }
  }

  /** The node answers again, or for the first time: learn what it is before it gets work. */
  async #recover(): Promise<void> {
    const found = await this.#discover()
    if (found === null || this.#isStopped) return
    if (this.#epoch === 0) this.#epoch = this.#around.nextEpoch()
    else if (this.#isReplaced(found)) this.#restarted('came back as another process')
    this.health.checked('alive')
    this.#adopt(found)
    this.#scrapeAfter(this.#around.timings.scrape_interval_ms)
  }

  #isReplaced(found: NodeFacts): boolean {
    const before = this.#facts
    if (before === null) return false
    if (found.version !== before.version && found.version !== '') return true
    if (found.metrics === null || before.metrics === null) return this.health.wasRefused
    if (isOtherProcess(before.metrics, found.metrics)) return true
    const isStartKnown = before.metrics.processStart !== null
    return !(isStartKnown && found.metrics.processStart !== null) && this.health.wasRefused
  }

  async #discover(): Promise<NodeFacts | null> {
    const { probe, timings } = this.#around
    const discovery = await discover(probe, this.url, this.entry, timings.timeout_ms)
    if (discovery.kind === 'found') return discovery.facts
    this.#reason = discovery.reason
    return null
  }

  /** Asks everything again, after a restart that was seen from outside. */
  async #rediscover(): Promise<void> {
    if (this.#isDiscovering) return
    this.#isDiscovering = true
    const found = await this.#discover()
    this.#isDiscovering = false
    if (this.#isStopped) return
    // Without an answer the node stays unknown, and the next scrape asks once more.
    if (found === null) return
    if (!this.#isUnknown && this.#isReplaced(found)) this.#restarted('answers as another process')
    this.#adopt(found)
  }

  #adopt(found: NodeFacts): void {
    const { clock, log } = this.#around
    const before = this.#facts
    const metrics = found.metrics ?? before?.metrics ?? null
    const isSame = before !== null && isSameModels(before.models, found.models)
    this.#facts = { ...found, metrics, models: isSame ? before.models : found.models }
    this.#isUnknown = false
    if (found.metrics !== null) this.#metricsAtMs = clock.nowMs()
    this.#modelsAtMs = clock.nowMs()
    this.#reason = 'answers'
    if (!this.ranks.apply(this.#facts)) {
      this.#reason = 'no slot is left for some of its ranks'
      log.warn({ node: this.id }, this.#reason)
    }
    this.#sleeps(found.isAsleep)
    this.#settle()
  }

  /**
   * Drops what is known of the old process; the caller asks the new one. `witness` is the slot
   * whose events showed it, if they did.
   */
  #restarted(how: string, witness: number | null = null): void {
    this.ranks.dropBlocks(witness)
    this.#isUnknown = true
    this.#epoch = this.#around.nextEpoch()
    this.health.replaced()
    this.#around.log.warn({ node: this.id, epoch: this.#epoch, how }, 'node restarted')
  }

  #scrapeAfter(delayMs: number): void {
    this.#cancelScrape()
    this.#cancelScrape = this.#around.clock.after(delayMs, () => void this.#scrape())
  }

  async #scrape(): Promise<void> {
    const { clock, probe, timings } = this.#around
    const isDown = this.health.state.kind === 'down' || this.health.state.kind === 'starting'
    // Recovery reads the metrics itself and arms this loop again.
    if (isDown) return
    const reply = await probe.get(`${this.url}/metrics`, this.#options)
    if (this.#isStopped) return
    const metrics = metricsOf(reply)
    if (metrics !== null) await this.#scraped(metrics)
    if (this.#isStopped) return
    const ageMs = clock.nowMs() - this.#modelsAtMs
    if (this.#isUnknown) await this.#rediscover()
    else if (ageMs >= timings.models_interval_ms) await this.#readModels()
    if (!this.#isStopped) this.#scrapeAfter(timings.scrape_interval_ms)
  }

  async #scraped(metrics: NodeMetrics): Promise<void> {
    const facts = this.#facts
    if (facts === null) return
    const isReplaced =
      !this.#isUnknown && facts.metrics !== null && isOtherProcess(facts.metrics, metrics)
    if (isReplaced) this.#restarted('metrics of another process')
    this.#facts = { ...facts, metrics }
    this.#metricsAtMs = this.#around.clock.nowMs()
    if (isReplaced) {
      await this.#rediscover()
      return
    }
    if (facts.metrics === null) this.ranks.apply(this.#facts)
    const { probe } = this.#around
    const asked = facts.isSleepAsked ? await askIsSleeping(probe, this.url, this.#options) : null
    if (!this.#isStopped) this.#sleeps(metrics.isAsleep ?? asked ?? this.#isAsleep)
    this.#settle()
  }

  async #readModels(): Promise<void> {
    if (this.#facts?.isPartial === true) {
      await this.#rediscover()
      return
    }
    this.#modelsAtMs = this.#around.clock.nowMs()
    const reply = await this.#around.probe.get(`${this.url}/v1/models`, this.#options)
    if (this.#isStopped || this.#facts === null) return
    const models = readModels(reply)
    if (typeof models === 'string' || isSameModels(models, this.#facts.models)) return
    this.#facts = { ...this.#facts, models }
    this.ranks.apply(this.#facts)
    this.#settle()
  }

  #sleeps(isAsleep: boolean): void {
    // Going to sleep empties the GPU caches; the event that says so comes only after the wake-up.
    if (isAsleep && !this.#isAsleep) this.ranks.clearBlocks()
    this.#isAsleep = isAsleep
  }

  /** After any evidence: arms the timer of breaker and trial and tells the fleet. */
  #settle(): void {
    if (this.#isStopped) return
    const { clock } = this.#around
    const { dueMs } = this.health
    this.#cancelTrial()
    if (dueMs !== null) {
      this.#cancelTrial = clock.after(Math.max(0, dueMs - clock.nowMs()), () => {
        this.health.elapsed(clock.nowMs())
        this.#settle()
      })
    }
    this.#around.onChange()
  }
}

function checkResultOf(reply: ProbeReply): CheckResult {
  // A 4xx comes from a live server: one that knows no /health, or wants a key there.
  if (reply.kind === 'answer') return reply.status >= 500 ? 'broken' : 'alive'
  return reply.kind === 'refused' ? 'refused' : 'silent'
}

function describeReply(reply: ProbeReply): string {
  return reply.kind === 'answer' ? `status ${reply.status}` : reply.kind
}

/** vLLM makes up `created` and `permission` for every reply, so they say nothing. */
function isSameModels(a: readonly ServedModel[], b: readonly ServedModel[]): boolean {
  return modelsKey(a) === modelsKey(b)
}

function modelsKey(models: readonly ServedModel[]): string {
  return JSON.stringify(
    models.map(model => model.body),
    (key, value: unknown) => (key === 'created' || key === 'permission' ? null : value),
  )
}
