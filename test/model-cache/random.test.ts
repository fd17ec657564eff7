/**
 * Random commands on a real mount beside a plain model: every byte read is that of the generation
 * that was opened, whatever is written, removed, evicted or killed meanwhile.
 *
 * Allowed differences: a file that nobody reads may refuse its eviction (a close is told to the
 * daemon a moment later); a name is looked at again at most a millisecond after its last check,
 * so a command waits until a change at the source has another time stamp.
 */
import { readdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { type FileHandle, open, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { array, assert, asyncProperty, constantFrom, nat, record } from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { PlainServing } from '../model/served_files.ts'
import { canMount } from './privileges.ts'
import { makeFolders, Served, tidyUp } from './served.ts'

const NAMES = ['a', 'b', 'c'] as const
const READERS = 3
const LIVES_MAX = 6

const command = record({
  what: constantFrom('write', 'remove', 'open', 'open', 'read', 'close', 'evict', 'list', 'kill'),
  name: constantFrom(...NAMES),
  reader: nat({ max: READERS - 1 }),
  length: constantFrom(0, 1, 4096, 100_001),
})

/** The mount, the model beside it, and the commands on both. */
class Run {
  readonly #served: Served
  readonly #model: PlainServing
  readonly #readers = new Map<number, FileHandle>()
  #written = 0

  constructor(served: Served, model: PlainServing) {
    this.#served = served
    this.#model = model
  }

  #source(name: string): string {
    return path.join(this.#served.folders.source, name)
  }

  #mounted(name: string): string {
    return path.join(this.#served.folders.mount, name)
  }

  write(name: string, length: number): void {
    const text = `${this.#written++}`.padEnd(length, name)
    writeFileSync(this.#source(name), text)
    this.#model.write(name, text)
  }

  remove(name: string): void {
    if (readdirSync(this.#served.folders.source).includes(name)) unlinkSync(this.#source(name))
    this.#model.remove(name)
  }

  async open(reader: number, name: string): Promise<void> {
    await this.close(reader)
    await this.settled()
    const wanted = this.#model.open(reader, name)
    if (wanted === null) {
      await expect(open(this.#mounted(name))).rejects.toMatchObject({ code: 'ENOENT' })
      return
    }
    this.#readers.set(reader, await open(this.#mounted(name)))
    await this.read(reader)
  }

  async read(reader: number): Promise<void> {
    const wanted = this.#model.reading(reader)
    const handle = this.#readers.get(reader)
    if (wanted === undefined || handle === undefined) return
    const buffer = Buffer.alloc(wanted.text.length + 10)
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
    expect(buffer.toString('latin1', 0, bytesRead)).toBe(wanted.text)
  }

  async close(reader: number): Promise<void> {
    await this.#readers.get(reader)?.close()
    this.#readers.delete(reader)
    this.#model.close(reader)
  }

  async evict(name: string): Promise<void> {
    const answer = await this.#served.ask(`evict ${name}`)
    if (!this.#model.mayEvict(name)) expect(answer).not.toContain('error')
    for (const reader of this.#readers.keys()) await this.read(reader)
  }

  /** The mount lists what the source has. */
  async settled(): Promise<void> {
    await vi.waitFor(async () => {
      for (const name of this.#model.names()) {
        const text = this.#model.open(-1, name)?.text
        this.#model.close(-1)
        expect(await readFile(this.#mounted(name), 'latin1')).toBe(text)
      }
      const names = (await readdir(this.#served.folders.mount)).toSorted()
      expect(names).toEqual(this.#model.names())
    })
  }

  async end(): Promise<void> {
    for (let reader = 0; reader < READERS; reader++) await this.close(reader)
    for (const name of NAMES) this.remove(name)
    await this.settled()
  }
}

let running: Served | null = null

// Also after a failure: nothing may be left behind.
afterEach(async () => {
  if (running !== null) await tidyUp(running.folders, running)
  running = null
})

async function start(mode: string, ...words: string[]): Promise<Served> {
  running = await Served.start(makeFolders(), [`mode=${mode}`, ...words])
  return running
}

describe.skipIf(!canMount).each(['passthrough', 'copy'] as const)('in %s mode', mode => {
  test('random commands show every reader its own generation', { timeout: 120_000 }, async () => {
    const served = await start(mode, 'revalidate=0')
    let lives = 0
    await assert(
      asyncProperty(array(command, { minLength: 5, maxLength: 40 }), async commands => {
        const run = new Run(served, new PlainServing())
        for (const { what, name, reader, length } of commands) {
          if (what === 'write') run.write(name, length)
          else if (what === 'remove') run.remove(name)
          else if (what === 'open') await run.open(reader, name)
          else if (what === 'read') await run.read(reader)
          else if (what === 'close') await run.close(reader)
          else if (what === 'evict') await run.evict(name)
          else if (what === 'list') await run.settled()
          else if (lives < LIVES_MAX) await served.killDaemon(++lives)
        }
        await run.end()
      }),
      { numRuns: 15, endOnFailure: true },
    )
  })
})
