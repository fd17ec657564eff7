/**
 * Members in one process for tests: each with a store of its own, one source between them whose
 * bytes are counted, and faults that can be put in front of it.
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePorts as freePortsInARow } from '../../bench/children.ts'
import { DirectorySource } from '../../src/model-cache/directory_source.ts'
import { noFront } from '../../src/model-cache/front.ts'
import { Member, type MemberOptions } from '../../src/model-cache/member.ts'
import type { ModelCache } from '../../src/model-cache/model_cache.ts'
import { type ChunkMover, javascriptMover, nativeMover } from '../../src/model-cache/mover.ts'
import { type Source, SourceError } from '../../src/model-cache/source.ts'
import { folderStore, type Store } from '../../src/model-cache/store.ts'
import type { Log } from '../../src/observe/log.ts'

export interface LogLine {
  readonly level: string
  readonly fields: object
  readonly message: string
}

/** A log that remembers. */
export function rememberingLog(): Log & { readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const at =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ level, fields, message })
    }
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** What is wrong with the source now, for all members together. */
export interface Weather {
  /** Fails the next so many opens. */
  failingOpens: number
  /** Bytes that were read from the source by all. */
  sourceBytes: number
  /** Called before each chunk is read; a test may change the source here, or hang. */
  onRead: (offset: number, file: string) => Promise<void> | void
}

export class Site {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-members-'))
  readonly root = path.join(this.folder, 'source')
  readonly weather: Weather = { failingOpens: 0, sourceBytes: 0, onRead: () => {} }
  readonly log = rememberingLog()
  readonly #members: Member[] = []
  #stores = 0

  readonly #isNative: boolean

  /** Chunks are moved and sent by native threads, or by the plain statement in JavaScript. */
  constructor(isNative: boolean) {
    this.#isNative = isNative
    mkdirSync(this.root)
  }

  write(name: string, bytes: Buffer): void {
    const file = path.join(this.root, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, bytes)
  }

  readonly #sourceFds = new Set<number>()

  #source(): Source {
    const plain = new DirectorySource({ root: this.root })
    return {
      list: below => plain.list(below),
      stat: name => plain.stat(name),
      localPath: name => plain.localPath(name),
      open: async name => {
        if (this.weather.failingOpens > 0) {
          this.weather.failingOpens -= 1
          throw new SourceError('io', 'the weather is bad')
        }
        const handle = await plain.open(name)
        this.#sourceFds.add(handle.fd)
        const close = (): Promise<void> => {
          this.#sourceFds.delete(handle.fd)
          return handle.close()
        }
        return { fd: handle.fd, stat: () => handle.stat(), close }
      },
    }
  }

  #mover(): ChunkMover {
    const plain = this.#isNative ? nativeMover() : javascriptMover()
    return {
      ...plain,
      copy: async (from, to, offset, length) => {
        await this.weather.onRead(offset, path.basename(readlinkSync(`/proc/self/fd/${from}`)))
        this.weather.sourceBytes += length
        return plain.copy(from, to, offset, length)
      },
      hash: (fd, offset, length) => {
        if (this.#sourceFds.has(fd)) this.weather.sourceBytes += length
        return plain.hash(fd, offset, length)
      },
    }
  }

  /** A member that is listening but knows nobody and nothing yet. */
  make(options: Partial<MemberOptions> = {}, sourceId = 'source'): Member {
    this.#stores += 1
    const store = path.join(this.folder, `store-${this.#stores}`)
    const source = this.#source()
    const member = new Member({
      caches: [
        { source, sourceId, makeFront: noFront, isPreloaded: () => true, pins: [], scanMs: 60_000 },
      ],
      capacityBytes: 2 ** 30,
      configuredBytes: 2 ** 30,
      store: folderStore(store),
      mover: this.#mover(),
      listen: { host: '127.0.0.1', port: 0 },
      token: null,
      warmup: null,
      peers: [],
      isRegistry: false,
      streams: 4,
      openMsMax: 10_000,
      restarts: 0,
      log: this.log,
      now: () => performance.now(),
      random: Math.random,
      ...options,
    })
    this.#members.push(member)
    return member
  }

  /** As `make`, with a store that behaves otherwise in these. */
  makeWithStore(others: Partial<Store>): Member {
    const plain = folderStore(path.join(this.folder, `other-store-${this.#stores}`))
    return this.make({ store: { ...plain, ...others } })
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map(member => member.close()))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export function cacheOf(member: Member): ModelCache {
  return member.caches[0]!
}

/** The bytes that a member has of a file, read from its store; null when it is not resident. */
export function bytesOf(member: Member, name: string): Buffer | null {
  const slot = cacheOf(member).slot(name)
  if (slot?.state !== 'resident') return null
  const fd = openSync(path.join(cacheOf(member).store.folder, slot.storeName), 'r')
  const bytes = Buffer.alloc(slot.file.size)
  readSync(fd, bytes, 0, bytes.length, 0)
  closeSync(fd)
  return bytes
}

/** Ports for members that have to know each other before they start; the one after each is free. */
export async function freePorts(count: number): Promise<number[]> {
  const first = await freePortsInARow(2 * count)
  return Array.from({ length: count }, (_, index) => first + 2 * index)
}
