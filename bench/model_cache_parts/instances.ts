/**
 * Cold instances that load the same model at the same moment from one source of a known speed: how
 * often is each byte of the source read, and how long does the last of them take?
 *
 *     plain_N      N readers on the source itself
 *     warmpath_N   N mounts that know each other (--peers) and hold nothing, one reader each
 *     rclone_2     two `rclone mount`s with empty caches
 *
 * Bytes are counted by the source, from before the mounts are made until all have read the whole
 * model. The mounts are made anew in every round.
 */
import { freePorts } from '../children.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'
import type { LoadPlan } from './loads.ts'
import { type Model, modelMib, writeModel } from './model.ts'
import { mountRclone, rcloneVersion } from './rclone.ts'
import { loadTogether, Site, type ThrottledSource } from './site.ts'

/** Instances of the amplification goal. */
const MANY = 4
const FEW = 2

interface Together {
  readonly seconds: number
  /** Bytes that the source gave, for each byte of the model. */
  readonly source_reads: number
}

interface Figures {
  readonly [name: string]: number | Ratio
}

class Instances {
  readonly #site: Site
  readonly #model: Model
  readonly #source: ThrottledSource
  readonly #sums = new Set<string>()

  constructor(site: Site, model: Model, source: ThrottledSource) {
    this.#site = site
    this.#model = model
    this.#source = source
  }

  async #measure(folders: readonly string[], before: number): Promise<Together> {
    const readings = await loadTogether(folders)
    for (const { sum } of readings) this.#sums.add(sum)
    if (this.#sums.size !== 1) throw new Error('the instances read different bytes')
    const bytes = (await this.#source.bytesRead()) - before
    const seconds = Math.max(...readings.map(reading => reading.seconds))
    return { seconds, source_reads: bytes / this.#model.bytes }
  }

  async plain(count: number): Promise<Together> {
    const before = await this.#source.bytesRead()
    return this.#measure(Array<string>(count).fill(this.#source.path), before)
  }

  async warmpath(count: number, sizeMib: number): Promise<Together> {
    this.#site.touch(count * sizeMib)
    const before = await this.#source.bytesRead()
    // Chunks leave from the port after the one that is listened on.
    const first = await freePorts(2 * count)
    const addresses = Array.from({ length: count }, (_, at) => `127.0.0.1:${first + 2 * at}`)
    const mounts = await Promise.all(
      addresses.map(address => {
        const others = addresses.filter(other => other !== address).join(',')
        const flags = ['--listen', address, '--peers', others]
        return this.#site.mount(this.#source.path, sizeMib, ...flags)
      }),
    )
    const together = await this.#measure(
      mounts.map(mount => mount.path),
      before,
    )
    for (const mount of mounts) await mount.stop()
    return together
  }

  async rclone(count: number, cacheRoot: string, round: number): Promise<Together> {
    this.#site.touch()
    const before = await this.#source.bytesRead()
    const mounts = []
    for (let at = 0; at < count; at += 1) {
      const name = `rclone-${round}-${at}`
      mounts.push(await mountRclone(this.#site, this.#source.path, cacheRoot, name))
    }
    const together = await this.#measure(
      mounts.map(mount => mount.path),
      before,
    )
    for (const mount of mounts) await mount.stop()
    return together
  }
}

function figuresOf(cells: readonly Together[], base: readonly Together[]): Figures {
  const seconds = cells.map(cell => cell.seconds)
  return {
    seconds: rounded(median(seconds)),
    source_reads: rounded(median(cells.map(cell => cell.source_reads))),
    source_reads_max: rounded(Math.max(...cells.map(cell => cell.source_reads))),
    speed_to_plain: pairedRatio(
      base.map(cell => cell.seconds),
      seconds,
    ),
  }
}

export async function benchInstances(plan: LoadPlan): Promise<Record<string, unknown>> {
  const sizeMib = modelMib(plan.modelMib)
  const site = new Site(MANY * sizeMib)
  try {
    const model = writeModel(site.tmpfs('source', sizeMib), plan.modelMib)
    const source = await site.throttled(model.folder, plan.bytesPerSecond)
    const version = rcloneVersion()
    const cacheRoot = version === null ? '' : site.tmpfs('rclone-cache', FEW * sizeMib)
    const instances = new Instances(site, model, source)
    const cells: Record<string, (round: number) => Promise<Together>> = {
      [`plain_${MANY}`]: () => instances.plain(MANY),
      [`warmpath_${MANY}`]: () => instances.warmpath(MANY, sizeMib),
      [`plain_${FEW}`]: () => instances.plain(FEW),
      [`warmpath_${FEW}`]: () => instances.warmpath(FEW, sizeMib),
      ...(version === null
        ? {}
        : { [`rclone_${FEW}`]: round => instances.rclone(FEW, cacheRoot, round) }),
    }
    const results = await runRounds(Object.keys(cells), plan.rounds, (name, round) => {
      const cell = cells[name]
      if (cell === undefined) throw new Error(`no cell ${name}`)
      return cell(round)
    })
    const out: Record<string, unknown> = {
      model: { bytes: model.bytes, source_gbps: plan.bytesPerSecond / 1e9 },
      rclone: version ?? 'not installed',
    }
    for (const [name, values] of results) {
      const base = results.get(`plain_${name.split('_')[1]}`) ?? []
      out[name] = figuresOf(values, base)
    }
    return out
  } finally {
    await site.close()
  }
}
