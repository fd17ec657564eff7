/**
 * Random operations on a real mount of the real daemon, with a capacity for a third of the files
 * and a peer that dies now and then: opens, reads at random offsets, mappings, closes, drops,
 * changes of the source. What a handle or a mapping shows is one generation of its file, at every
 * offset and for as long as it lives, and the source had that generation while it was opened.
 *
 *   model     for each file its generations, and when each was replaced
 *   a handle  the generation that its first bytes belong to; all later ones must be of it
 *
 * Allowed: a look at the source that began before an open may serve it, so a generation counts
 * that was replaced LOOK_MS before. The bytes follow from the generation, so nothing is kept.
 *
 * WARMPATH_TEST_OPERATIONS sets their number (100,000 takes some minutes).
 */
import type { ChildProcess } from 'node:child_process'
import { renameSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import readline from 'node:readline'
import { afterEach, expect, test } from 'vitest'
import { freePorts } from './members.ts'
import { canMount } from './privileges.ts'
import { randomOf, SEED, seeded } from './seeded.ts'
import { Workplace } from './workplace.ts'

const OPERATIONS = Number(process.env['WARMPATH_TEST_OPERATIONS'] ?? 1500)
const LANES = 4
const FILES = 12
const SIZE_MIN = 20_000
const SIZE_SPREAD = 40_000
const CAPACITY = Math.floor((FILES * (SIZE_MIN + SIZE_SPREAD / 2)) / 3)
const READ_MAX = 9000
/** Handles of one lane, and operations for one death of the peer. */
const HANDLES = 4
const OPERATIONS_A_DEATH = 2500
const DEATH_AT = 600
/** Milliseconds that one look at the source may have lasted on a busy machine. */
const LOOK_MS = 1000

/** Maps files for this process: one line asked, one answered. */
const MAPPER = `
import base64, json, mmap, sys
maps = {}
for line in sys.stdin:
    what, key, *rest = json.loads(line)
    try:
        if what == "map":
            f = open(rest[0], "rb")
            maps[key] = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
            f.close()
            answer = len(maps[key])
        elif what == "read":
            answer = base64.b64encode(maps[key][rest[0]:rest[0] + rest[1]]).decode()
        else:
            maps.pop(key).close()
            answer = 0
    except OSError as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
`

/** Every word of a generation is made of file, generation and place, so no two are alike. */
function contentOf(file: number, generation: number): Buffer {
  const seed = Math.imul(file + 1, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b)
  const size = SIZE_MIN + (((seed >>> 3) ^ generation) % SIZE_SPREAD)
  const words = new Uint32Array(Math.ceil(size / 4))
  for (let at = 0; at < words.length; at += 1) words[at] = Math.imul(seed ^ at, 0xc2b2ae35) | 1
  return Buffer.from(words.buffer, 0, size)
}

interface Version {
  readonly generation: number
  replacedMs: number
}

/** Something that shows bytes of a file: a handle of this process, or a mapping of the other. */
interface Reader {
  readonly file: number
  readonly size: number
  /** Versions that it may be of; one after the first bytes were seen. */
  candidates: number[]
  read(offset: number, length: number): Promise<Buffer>
  close(): Promise<void>
}

class Mapper {
  readonly #child: ChildProcess
  readonly #waiting: ((answer: unknown) => void)[] = []
  #next = 0

  constructor(child: ChildProcess) {
    this.#child = child
    readline.createInterface({ input: child.stdout! }).on('line', line => {
      this.#waiting.shift()?.(JSON.parse(line))
    })
  }

  #ask(...words: unknown[]): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify(words)}\n`)
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  async map(name: string): Promise<Omit<Reader, 'file' | 'candidates'>> {
    const key = String(this.#next)
    this.#next += 1
    const size = await this.#ask('map', key, name)
    if (typeof size !== 'number') throw new Error(`${name} cannot be mapped: ${String(size)}`)
    return {
      size,
      read: async (offset, length) => {
        const text = String(await this.#ask('read', key, offset, length))
        return Buffer.from(text, 'base64')
      },
      close: async () => void (await this.#ask('close', key)),
    }
  }
}

async function handleOf(name: string): Promise<Omit<Reader, 'file' | 'candidates'>> {
  const handle: FileHandle = await open(name)
  const { size } = await handle.stat()
  return {
    size,
    read: async (offset, length) => {
      const bytes = Buffer.alloc(length)
      const { bytesRead } = await handle.read(bytes, 0, length, offset)
      return bytes.subarray(0, bytesRead)
    },
    close: () => handle.close(),
  }
}

class Run {
  readonly #place: Workplace
  readonly #mapper: Mapper
  readonly #versions: Version[][]
  readonly #port: number
  #peer: ChildProcess | null = null
  readonly #random = randomOf(SEED)
  #deaths: Promise<void> = Promise.resolve()
  done = 0
  readonly counts: Record<string, number> = {}

  constructor(place: Workplace, port: number) {
    this.#place = place
    this.#port = port
    this.#mapper = new Mapper(place.reader('python3', '-c', MAPPER))
    this.#versions = Array.from({ length: FILES }, () => [])
    for (let file = 0; file < FILES; file += 1) {
      place.write(this.#name(file), '')
      this.#change(file)
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count)
  }

  #name(file: number): string {
    return `m${file % 3}/f${file}`
  }

  #change(file: number): void {
    const versions = this.#versions[file]!
    const generation = (versions.at(-1)?.generation ?? 0) + 1
    this.#place.write(`../fresh`, contentOf(file, generation))
    renameSync(
      path.join(this.#place.folder, 'fresh'),
      path.join(this.#place.source, this.#name(file)),
    )
    const last = versions.at(-1)
    if (last !== undefined) last.replacedMs = performance.now()
    versions.push({ generation, replacedMs: Number.POSITIVE_INFINITY })
  }

  async startPeer(): Promise<void> {
    if (this.#peer !== null) await this.#place.stop(this.#peer, 'SIGKILL')
    const listen = `127.0.0.1:${this.#port}`
    const words = ['--capacity', '64MiB', '--listen', listen]
    this.#peer = (await this.#place.start('warmup', this.#place.source, ...words)).child
  }

  async #open(file: number): Promise<Reader> {
    const startedMs = performance.now()
    const name = path.join(this.#place.fast, this.#name(file))
    const isMapped = this.#random() < 0.3
    this.#count(isMapped ? 'map' : 'open')
    const opened = isMapped ? await this.#mapper.map(name) : await handleOf(name)
    const versions = this.#versions[file]!
    const candidates = versions
      .filter(({ replacedMs }) => replacedMs > startedMs - LOOK_MS)
      .map(({ generation }) => generation)
      .filter(generation => contentOf(file, generation).length === opened.size)
    const reader = { ...opened, file, candidates }
    await this.#read(reader)
    return reader
  }

  async #read(reader: Reader): Promise<void> {
    const offset = this.#below(reader.size)
    const length = 1 + this.#below(READ_MAX)
    const bytes = await reader.read(offset, length)
    reader.candidates = reader.candidates.filter(generation =>
      contentOf(reader.file, generation)
        .subarray(offset, offset + length)
        .equals(bytes),
    )
    expect(reader.candidates.length, `file ${reader.file} at ${offset}`).toBeGreaterThan(0)
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
    this.done += 1
    if (this.done % OPERATIONS_A_DEATH !== DEATH_AT) return
    this.counts['death'] = (this.counts['death'] ?? 0) + 1
    this.#deaths = this.#deaths.then(() => this.startPeer())
  }

  async #step(readers: Reader[]): Promise<void> {
    const dice = this.#random()
    const reader = readers[this.#below(readers.length)]
    if (reader === undefined || (dice < 0.3 && readers.length < HANDLES)) {
      readers.push(await this.#open(this.#below(FILES)))
    } else if (dice < 0.6) {
      this.#count('read')
      await this.#read(reader)
    } else if (dice < 0.82) {
      this.#count('close')
      readers.splice(readers.indexOf(reader), 1)
      await reader.close()
    } else if (dice < 0.92) {
      this.#count('drop')
      await this.#place.drop(this.#name(this.#below(FILES)))
    } else {
      this.#count('change')
      this.#change(this.#below(FILES))
    }
  }

  async lane(): Promise<void> {
    const readers: Reader[] = []
    while (this.done < OPERATIONS) await this.#step(readers)
    for (const reader of readers) await reader.close()
  }

  /** Settles when the last peer that was started anew is there. */
  deaths(): Promise<void> {
    return this.#deaths
  }
}

let place: Workplace | null = null
afterEach(() => place?.close())

test.runIf(canMount)(
  'random operations show every reader one generation whole',
  { timeout: 1_800_000 },
  () =>
    seeded(async () => {
      place = new Workplace()
      const [port = 0] = await freePorts(1)
      const run = new Run(place, port)
      await run.startPeer()
      const words = ['--capacity', `${CAPACITY}B`, '--revalidate', '0', '--scan', '1h']
      const peer = ['--warmup', `127.0.0.1:${port}`]
      await place.start('mount', place.source, place.fast, ...words, ...peer)
      await Promise.all(Array.from({ length: LANES }, () => run.lane()))
      await run.deaths()
      const { used_bytes: used, capacity_bytes: capacity } = (await place.asked()).caches[0]!
      expect(used).toBeLessThanOrEqual(capacity)
      if (OPERATIONS > 10_000) {
        process.stderr.write(`${JSON.stringify({ seed: SEED, ...run.counts })}\n`)
      }
    }),
)
