/**
 * Loading a model: every file of it by one reader, one file after the other, from a source of a
 * known speed and from the cache beside it.
 *
 *     standard    the reader on the throttled source          null   the same again
 *     warmup      a cold mount that takes it from a warm-up
 *     resident    a further reader on a host whose mount holds it
 *     peer        a cold mount that takes it from another mount alone
 *     rclone      a cold `rclone mount`, then a second read and random reads of it
 *
 * The clock runs from the first open to the last byte, on mounts that are ready and hold nothing.
 * The sums of what was read are the same on every path. Before each cell twice the memory is
 * written and given back that it will need.
 */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { freePorts } from '../children.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'
import { type Model, modelMib, writeModel } from './model.ts'
import { mountRclone, rcloneVersion } from './rclone.ts'
import { read, Site, seconds, type ThrottledSource } from './site.ts'

/**
 * Times its size of which memory is touched before a model is loaded: what was given back is not
 * what is handed out next, and pages that nobody touched cost more than the load.
 */
const TOUCHES = 3

/** Copies that prove the source's rate. */
const PROOFS = 3

/** rclone has one round in so many: it is slow, and its figures are far from the others'. */
const RCLONE_EVERY = 3

/** Random reads of each of two threads. */
const READS = 400_000
const READS_RCLONE = 5_000
const READS_QUICK = 200

export interface LoadPlan {
  readonly rounds: number
  readonly modelMib: number
  /** What the source gives at most. */
  readonly bytesPerSecond: number
  readonly isQuick: boolean
}

/** GB/s of one cell, or null where the round has none. */
type Cells = ReadonlyMap<string, readonly (number | null)[]>

export interface Rates {
  readonly [name: string]: number | string | Ratio
}

/** Medians, and the paired ratio of each to the first in the rounds that both have. */
function ratesOf(cells: Cells, unit: string): Rates {
  const out: Record<string, number | string | Ratio> = { unit }
  const [[base, baseCells] = ['', []]] = [...cells]
  for (const [name, values] of cells) {
    const rounds = values.flatMap((value, round) => (value === null ? [] : [round]))
    if (rounds.length === 0) continue
    const own = rounds.map(round => values[round] ?? Number.NaN)
    out[name] = rounded(median(own))
    if (name === base) continue
    out[`${name}_to_${base}`] = pairedRatio(
      own,
      rounds.map(round => baseCells[round] ?? Number.NaN),
    )
  }
  return out
}

class Loads {
  readonly #site: Site
  readonly #model: Model
  readonly #sums = new Set<string>()

  constructor(site: Site, model: Model) {
    this.#site = site
    this.#model = model
  }

  /** GB/s of one reader over the whole model. */
  load(folder: string): number {
    const reading = read('load', folder, 1, 1)
    this.#sums.add(reading.sum)
    if (this.#sums.size !== 1) throw new Error(`${folder} gave other bytes`)
    return this.#model.bytes / reading.seconds / 1e9
  }

  /** The same on a mount that holds nothing. */
  loadCold(fast: string): number {
    this.#site.cache('drop', fast)
    this.#site.touch()
    const rate = this.load(fast)
    // Memory is for the next contestant.
    this.#site.cache('drop', fast)
    return rate
  }
}

/**
 * What plain copies of the whole model reach: the proof of the source's bucket. A copier that is
 * kept waiting for its processor loses what the bucket cannot save up, so the best counts too.
 */
function proveSource(site: Site, source: ThrottledSource, model: Model, rate: number) {
  const to = path.join(site.spare, 'copy')
  const rates = Array.from({ length: PROOFS }, () => {
    site.touch()
    const copied = seconds(() => execFileSync('cp', ['-r', source.path, to]))
    rmSync(to, { recursive: true })
    return model.bytes / copied / rate
  })
  return {
    copy_to_nominal: rounded(median(rates)),
    copy_to_nominal_max: rounded(Math.max(...rates)),
  }
}

/** Cells of rclone, filled round by round. */
class RcloneCells {
  readonly cold: (number | null)[] = []
  readonly second: (number | null)[] = []
  readonly random = new Map<string, number[]>()

  skip(): void {
    this.cold.push(null)
    this.second.push(null)
  }

  addRandom(name: string, place: string, count: number): void {
    const { seconds: taken } = read('random', place, 2, count)
    const values = this.random.get(name) ?? []
    values.push((2 * count) / taken / 1e6)
    this.random.set(name, values)
  }
}

/** Everything that the cells read: the source, and the mounts and services before it. */
interface Stage {
  readonly site: Site
  readonly model: Model
  readonly source: ThrottledSource
  /** Of the source, as a plain copy sees it. */
  readonly proof: object
  /** Accelerated paths: one that holds the model, and two that will be cold. */
  readonly holder: string
  readonly byWarmup: string
  readonly byPeer: string
  readonly rcloneVersion: string | null
  readonly rcloneRoot: string
}

async function prepare(site: Site, plan: LoadPlan): Promise<Stage> {
  const sizeMib = modelMib(plan.modelMib)
  const model = writeModel(site.tmpfs('source', sizeMib), plan.modelMib)
  const source = await site.throttled(model.folder, plan.bytesPerSecond)
  const proof = proveSource(site, source, model, plan.bytesPerSecond)
  const warmup = await site.warmup(source.path, sizeMib, await freePorts(2))
  const { path: holder } = await site.mount(source.path, sizeMib)
  site.cache('warm', holder)
  const { address } = site.status(holder)
  const { path: byWarmup } = await site.mount(source.path, sizeMib, '--warmup', warmup)
  const { path: byPeer } = await site.mount(source.path, sizeMib, '--peers', address)
  const version = rcloneVersion()
  const rcloneRoot = version === null ? '' : site.tmpfs('rclone-cache', sizeMib)
  return {
    site,
    model,
    source,
    proof,
    holder,
    byWarmup,
    byPeer,
    rcloneVersion: version,
    rcloneRoot,
  }
}

/** One round of rclone; returns the bytes that it took from the source. */
async function runRclone(
  stage: Stage,
  loads: Loads,
  cells: RcloneCells,
  round: number,
  isQuick: boolean,
): Promise<number> {
  const { site, model, source, holder, rcloneVersion: version, rcloneRoot } = stage
  if (version === null || round % RCLONE_EVERY !== 0) {
    cells.skip()
    return 0
  }
  const before = await source.bytesRead()
  site.touch()
  const mount = await mountRclone(site, source.path, rcloneRoot, `rclone-${round}`)
  cells.cold.push(loads.load(mount.path))
  cells.second.push(loads.load(mount.path))
  const reads = isQuick ? READS_QUICK : READS
  cells.addRandom('native', path.join(model.folder, model.shard), reads)
  cells.addRandom('accelerated', path.join(holder, model.shard), reads)
  const few = isQuick ? READS_QUICK : READS_RCLONE
  cells.addRandom('rclone', path.join(mount.path, model.shard), few)
  await mount.stop()
  return (await source.bytesRead()) - before
}

async function measure(stage: Stage, plan: LoadPlan): Promise<Record<string, unknown>> {
  const { site, model, source, holder, byWarmup, byPeer } = stage
  const loads = new Loads(site, model)
  const rclone = new RcloneCells()
  const before = await source.bytesRead()
  let othersBytes = 0
  const plain = (): number => {
    othersBytes += model.bytes
    return loads.load(source.path)
  }
  const cells: Record<string, () => number> = {
    standard: plain,
    warmup: () => loads.loadCold(byWarmup),
    resident: () => loads.load(holder),
    peer: () => loads.loadCold(byPeer),
    null: plain,
  }
  const names = [...Object.keys(cells), 'rclone']
  const results = await runRounds(names, plan.rounds, async (name, round) => {
    if (name === 'rclone') othersBytes += await runRclone(stage, loads, rclone, round, plan.isQuick)
    return cells[name]?.() ?? null
  })
  results.delete('rclone')
  results.set('rclone_cold', rclone.cold)
  results.set('rclone_second', rclone.second)
  return {
    // What the cold mounts took from the source, when others have it: one chunk a file, compared.
    bytes_beside_others: (await source.bytesRead()) - before - othersBytes,
    tiers: { warmup: site.status(byWarmup).tiers, peer: site.status(byPeer).tiers },
    load: ratesOf(results, 'GB/s'),
    ...(rclone.random.size === 0
      ? {}
      : { random_4k_2_threads: ratesOf(rclone.random, 'million reads/s') }),
  }
}

export async function benchLoads(plan: LoadPlan): Promise<Record<string, unknown>> {
  const site = new Site(TOUCHES * modelMib(plan.modelMib))
  try {
    const stage = await prepare(site, plan)
    return {
      model: { bytes: stage.model.bytes, source_gbps: plan.bytesPerSecond / 1e9 },
      source: stage.proof,
      rclone: stage.rcloneVersion ?? 'not installed',
      ...(await measure(stage, plan)),
    }
  } finally {
    await site.close()
  }
}
