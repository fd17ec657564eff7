/**
 * Random operations on members in one process: loads, drops, changes and removals of the
 * source, deaths and births of members, at a capacity that holds a third of the files. After every
 * load, the bytes must be a whole generation that the source had since the load was asked for.
 *
 * WARMPATH_TEST_OPERATIONS sets their number (100,000 takes some minutes); the seed is printed
 * when a run fails, and WARMPATH_TEST_SEED repeats it.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Member } from '../../src/model-cache/member.ts'
import { bytesOf, cacheOf, Site } from './members.ts'
import { randomOf, SEED, seeded } from './seeded.ts'

const OPERATIONS = Number(process.env['WARMPATH_TEST_OPERATIONS'] ?? 1500)
const FILES = 12
const SIZE_MAX = 40_000
const CAPACITY = (FILES * SIZE_MAX) / 3

let site: Site | null = null
afterEach(() => site?.close())

class Run {
  readonly random = randomOf(SEED)
  readonly site: Site
  members: Member[] = []
  /** Every content that a file has had, oldest first. */
  readonly history = new Map<string, Buffer[]>()
  loads = 0
  /** For each file the first version that the loads under way may show, counted from 1. */
  readonly #begun = new Map<string, number[]>()

  constructor(made: Site) {
    this.site = made
  }

  below(count: number): number {
    return Math.floor(this.random() * count)
  }

  name(): string {
    return `m${this.below(3)}/f${this.below(FILES / 3)}`
  }

  change(name: string): void {
    const contents = this.history.get(name) ?? []
    // Another size each time: two contents of one size and second would be one to other hosts.
    const bytes = Buffer.alloc(1000 + contents.length + this.below(SIZE_MAX / 2), contents.length)
    contents.push(bytes)
    this.history.set(name, contents)
    this.site.write(name, bytes)
  }

  async member(): Promise<Member> {
    const peers = this.members.map(({ port }) => `127.0.0.1:${port}`)
    const made = this.site.make({ capacityBytes: CAPACITY, peers, loadMs: 0, openMsMax: 5000 })
    await made.start()
    this.members.push(made)
    return made
  }

  async load(): Promise<void> {
    const member = this.members[this.below(this.members.length)]!
    const name = this.name()
    const versions = this.history.get(name)?.length ?? 0
    // A look at the source that another load has begun serves this one too.
    const begun = this.#begun.get(name) ?? []
    const oldest = Math.max(0, Math.min(versions, ...begun) - 1)
    this.#begun.set(name, [...begun, oldest + 1])
    try {
      const bytes = await this.#loaded(member, name)
      if (bytes === null) return
      this.loads += 1
      const allowed = this.history.get(name)!.slice(oldest)
      expect(allowed.some(content => content.equals(bytes))).toBe(true)
      expect(member.residents.usedBytes).toBeLessThanOrEqual(CAPACITY)
    } finally {
      const left = this.#begun.get(name)!
      left.splice(left.indexOf(oldest + 1), 1)
    }
  }

  /** The bytes that the member shows once it has loaded the file; null when it shows none. */
  async #loaded(member: Member, name: string): Promise<Buffer | null> {
    const cache = cacheOf(member)
    await cache.tree.check(name, 0)
    const slot = cache.slot(name)
    if (slot === null) return null
    const outcome = await cache.want(slot, 'open')
    return outcome.kind === 'resident' && cache.slot(name) === slot ? bytesOf(member, name) : null
  }

  async step(): Promise<void> {
    const dice = this.random()
    if (dice < 0.75) return this.load()
    if (dice < 0.87) return this.change(this.name())
    if (dice < 0.9) return rmSync(path.join(this.site.root, this.name()), { force: true })
    if (dice < 0.99) {
      const cache = cacheOf(this.members[this.below(this.members.length)]!)
      const slot = cache.slot(this.name())
      if (slot !== null) cache.drop(slot)
      return undefined
    }
    const [dead] = this.members.splice(this.below(this.members.length), 1)
    await dead?.close()
    await this.member()
    return undefined
  }
}

test('random operations never show wrong bytes', { timeout: 1_800_000 }, () =>
  seeded(async () => {
    site = new Site(true)
    const run = new Run(site)
    for (let file = 0; file < FILES; file += 1) run.change(`m${file % 3}/f${Math.floor(file / 3)}`)
    for (let count = 0; count < 3; count += 1) await run.member()
    for (let done = 0; done < OPERATIONS; done += 4) {
      // Several at once, so that loads meet changes, drops and each other.
      await Promise.all([run.step(), run.step(), run.step(), run.step()])
    }
    expect(run.loads).toBeGreaterThan(OPERATIONS / 4)
  }),
)
