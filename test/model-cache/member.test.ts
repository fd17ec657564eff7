/** Loading: from the source, from each other, from a warm-up, and what goes wrong on the way. */
import { randomBytes } from 'node:crypto'
import { rmSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Member } from '../../src/model-cache/member.ts'
import { bytesOf, cacheOf, freePorts, Site } from './members.ts'

const MIB = 2 ** 20
/** Compared with the source of a file of one chunk. */
const PIECE = 64 * 1024
const MOVERS = [
  ['native', true],
  ['javascript', false],
] as const

let site: Site
afterEach(() => site.close())

async function started(member: Member): Promise<Member> {
  await member.start()
  return member
}

/** Members that know each other from the start, all cold. */
async function coldMembers(count: number, options: object = {}): Promise<Member[]> {
  const ports = await freePorts(count)
  const members = ports.map(port =>
    site.make({
      listen: { host: '127.0.0.1', port },
      peers: ports.filter(other => other !== port).map(other => `127.0.0.1:${other}`),
      ...options,
    }),
  )
  await Promise.all(members.map(started))
  // Those that started first were refused by those that started last.
  await Promise.all(members.map(member => member.peers.greet()))
  return members
}

describe.each(MOVERS)('%s: from the source', (_, isNative) => {
  beforeEach(() => {
    site = new Site(isNative)
  })

  test('files of every size become resident, byte for byte', async () => {
    const sizes = [0, 1, 4095, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB]
    const files = sizes.map(size => [`m/${size}`, randomBytes(size)] as const)
    for (const [name, bytes] of files) site.write(name, bytes)
    const member = await started(site.make())
    await member.preload()
    for (const [name, bytes] of files) expect(bytesOf(member, name)?.equals(bytes)).toBe(true)
    expect(site.weather.sourceBytes).toBe(sizes.reduce((sum, size) => sum + size))
  })

  test('a source that fails is tried again', async () => {
    site.write('a', randomBytes(MIB))
    site.weather.failingOpens = 2
    const member = await started(site.make())
    await member.preload()
    expect(cacheOf(member).slot('a')?.state).toBe('resident')
  })

  test('a source that goes on failing is an error in the end, and nothing is kept', async () => {
    site.write('a', randomBytes(MIB))
    site.weather.failingOpens = Number.POSITIVE_INFINITY
    const member = await started(site.make({ openMsMax: 300 }))
    const slot = cacheOf(member).slot('a')!
    const outcome = await cacheOf(member).want(slot, 'open')
    expect(outcome).toMatchObject({ kind: 'failed', message: expect.stringContaining('progress') })
    expect([slot.state, member.residents.usedBytes]).toEqual(['absent', 0])
    site.weather.failingOpens = 0
    expect(await cacheOf(member).want(slot, 'open')).toMatchObject({ kind: 'resident' })
  })
})

describe.each(MOVERS)('%s: from a source that changes', (_, isNative) => {
  beforeEach(() => {
    site = new Site(isNative)
  })

  test('a file that changes while it is read is read anew, and never mixed', async () => {
    const [before, after] = [Buffer.alloc(20 * MIB, 1), Buffer.alloc(20 * MIB, 2)]
    site.write('a', before)
    const member = await started(site.make({ streams: 1 }))
    let reads = 0
    site.weather.onRead = () => {
      reads += 1
      if (reads === 3) site.write('a', after)
    }
    const cache = cacheOf(member)
    const outcome = await cache.want(cache.slot('a')!, 'open')
    expect(outcome.kind).toBe('changed')
    await member.preload()
    expect(bytesOf(member, 'a')?.equals(after)).toBe(true)
  })

  test('a file that is cut short while it is read is not kept', async () => {
    site.write('a', randomBytes(20 * MIB))
    const member = await started(site.make({ streams: 1 }))
    let reads = 0
    site.weather.onRead = () => {
      reads += 1
      if (reads === 3) writeFileSync(path.join(site.root, 'a'), 'short')
    }
    const cache = cacheOf(member)
    await cache.want(cache.slot('a')!, 'open')
    await member.preload()
    expect(bytesOf(member, 'a')?.toString()).toBe('short')
  })

  test('a replaced file of equal size and time is noticed on this host', async () => {
    const file = path.join(site.root, 'a')
    site.write('a', Buffer.from('one'))
    utimesSync(file, 1000, 1000)
    const member = await started(site.make())
    await member.preload()
    site.write('a', Buffer.from('two'))
    utimesSync(file, 1000, 1000)
    await cacheOf(member).tree.scan()
    expect(cacheOf(member).slot('a')?.file.isAmbiguous).toBe(true)
    await member.preload()
    expect(bytesOf(member, 'a')?.toString()).toBe('two')
  })

  test('added files appear and deleted ones go, with their memory', async () => {
    site.write('a', randomBytes(MIB))
    const member = await started(site.make())
    await member.preload()
    rmSync(path.join(site.root, 'a'))
    site.write('b/c', randomBytes(10))
    await cacheOf(member).tree.scan()
    expect(cacheOf(member).slot('a')).toBeNull()
    expect(member.residents.usedBytes).toBe(0)
    await member.preload()
    expect(cacheOf(member).slot('b/c')?.state).toBe('resident')
  })
})

describe('capacity', () => {
  beforeEach(() => {
    site = new Site(true)
  })

  test('is never passed, and what does not fit is said so', async () => {
    for (const name of ['a', 'b', 'c', 'd']) site.write(`m/${name}`, randomBytes(MIB))
    site.write('m/huge', randomBytes(4 * MIB))
    const member = await started(site.make({ capacityBytes: 3 * MIB }))
    await member.preload()
    const states = [...cacheOf(member).slots()].map(slot => slot.state)
    expect(states.filter(state => state === 'resident')).toHaveLength(3)
    expect(member.residents.usedBytes).toBe(3 * MIB)
  })

  test('a preload that does not fit displaces nothing, however often it is looked at', async () => {
    for (const name of ['a/1', 'a/2', 'b/1', 'b/2']) site.write(name, randomBytes(MIB))
    const member = await started(site.make({ capacityBytes: 3 * MIB, loadMs: 0 }))
    await member.preload()
    const states = () => [...cacheOf(member).slots()].map(slot => slot.state)
    expect(states()).toEqual(['resident', 'resident', 'resident', 'absent'])
    for (let look = 0; look < 3; look += 1) await member.preload()
    expect([states().at(-1), site.weather.sourceBytes]).toEqual(['absent', 3 * MIB])
    expect(member.metrics.evictions.size).toBe(0)
    const last = cacheOf(member).slot('b/2')!
    expect(await cacheOf(member).want(last, 'open')).toMatchObject({ kind: 'resident' })
  })

  test('a dropped file is loaded again when it is wanted', async () => {
    site.write('a', randomBytes(MIB))
    const member = await started(site.make())
    await member.preload()
    const cache = cacheOf(member)
    expect(cache.drop(cache.slot('a')!)).toBe('evicted')
    expect([member.residents.usedBytes, cache.slot('a')?.state]).toEqual([0, 'absent'])
    expect(await cache.want(cache.slot('a')!, 'open')).toMatchObject({ kind: 'resident' })
  })
})

describe.each(MOVERS)('%s: from each other', (_, isNative) => {
  beforeEach(() => {
    site = new Site(isNative)
  })

  test('four cold members together read each source byte about once', async () => {
    const bytes = randomBytes(80 * MIB)
    site.write('m/a', bytes)
    const members = await coldMembers(4)
    await Promise.all(members.map(member => member.preload()))
    for (const member of members) expect(bytesOf(member, 'm/a')?.equals(bytes)).toBe(true)
    expect(site.weather.sourceBytes / bytes.length).toBeLessThanOrEqual(1.05)
  })

  test('a newcomer takes everything from those that have it', async () => {
    const bytes = randomBytes(20 * MIB)
    site.write('m/a', bytes)
    const [warm, cold] = await coldMembers(2)
    await warm!.preload()
    site.weather.sourceBytes = 0
    await cold!.preload()
    expect(bytesOf(cold!, 'm/a')?.equals(bytes)).toBe(true)
    // One chunk is compared, since nobody else has the file.
    expect(site.weather.sourceBytes).toBe(4 * MIB)
  })

  test('a member that dies while it owns extents is replaced', async () => {
    const bytes = randomBytes(200 * MIB)
    site.write('m/a', bytes)
    const members = await coldMembers(3)
    let reads = 0
    site.weather.onRead = () => {
      reads += 1
      if (reads === 12) void members[0]!.close()
    }
    await Promise.all(members.slice(1).map(member => member.preload()))
    for (const member of members.slice(1)) {
      expect(bytesOf(member, 'm/a')?.equals(bytes)).toBe(true)
    }
    // Its share, at most, is read twice: extents are 64 MiB, so it may own two of the four.
    expect(site.weather.sourceBytes / bytes.length).toBeLessThanOrEqual(1.05 + 2 / 3)
  })

  test('members that share a token understand each other, and nobody else', async () => {
    site.write('m/a', randomBytes(MIB))
    const token = 'the token of this service'
    const [warm, cold] = await coldMembers(2, { token })
    await warm!.preload()
    site.weather.sourceBytes = 0
    await cold!.preload()
    expect(site.weather.sourceBytes).toBe(PIECE)
    const stranger = site.make({ token: 'another token', peers: [`127.0.0.1:${warm!.port}`] })
    await started(stranger)
    await stranger.preload()
    expect(site.weather.sourceBytes).toBe(PIECE + MIB)
    expect(cacheOf(stranger).slot('m/a')?.state).toBe('resident')
  })
})

/** A warm-up that holds all of the source; reads of the source count from here. */
async function warmedUp(): Promise<Member> {
  const warmup = await started(site.make({ isRegistry: true }))
  await warmup.preload()
  site.weather.sourceBytes = 0
  return warmup
}

describe.each(MOVERS)('%s: through a warm-up', (_, isNative) => {
  beforeEach(() => {
    site = new Site(isNative)
  })

  test('cold members read nothing from the source, and learn of each other', async () => {
    const bytes = randomBytes(30 * MIB)
    site.write('m/a', bytes)
    const warmup = await warmedUp()
    const address = `127.0.0.1:${warmup.port}`
    const first = await started(site.make({ warmup: address }))
    const second = await started(site.make({ warmup: address }))
    await Promise.all([first.preload(), second.preload()])
    expect(bytesOf(first, 'm/a')?.equals(bytes)).toBe(true)
    expect(bytesOf(second, 'm/a')?.equals(bytes)).toBe(true)
    expect(site.weather.sourceBytes).toBeLessThanOrEqual(2 * 4 * MIB)
    expect(second.peers.all().map(peer => peer.id)).toContain(first.id)
  })

  test('another source id is said loudly on both sides, and the load goes on', async () => {
    site.write('a', randomBytes(MIB))
    const warmup = await started(site.make({ isRegistry: true }, 'oss://one'))
    const address = `http://127.0.0.1:${warmup.port}`
    const member = await started(site.make({ warmup: address }, 'oss://two'))
    await member.preload()
    expect(cacheOf(member).slot('a')?.state).toBe('resident')
    const errors = site.log.lines.filter(({ level }) => level === 'error')
    expect(errors.map(({ message }) => message)).toEqual([
      'source ids do not match',
      'warm-up is of no use',
    ])
    expect(member.peers.warmupFault).toMatch(/here "oss:\/\/one", there "oss:\/\/two"/)
  })

  test('a warm-up that dies while it serves is done without', async () => {
    const bytes = randomBytes(80 * MIB)
    site.write('a', bytes)
    const warmup = await warmedUp()
    const member = await started(site.make({ warmup: `127.0.0.1:${warmup.port}` }))
    const { metrics } = member
    const takes = metrics.tier.bind(metrics)
    let chunks = 0
    metrics.tier = (tier, count) => {
      takes(tier, count)
      chunks += 1
      if (chunks === 3) void warmup.close()
    }
    await member.preload()
    expect(bytesOf(member, 'a')?.equals(bytes)).toBe(true)
    expect(metrics.tierBytes.get('warmup')).toBeGreaterThan(0)
    expect(site.weather.sourceBytes).toBeGreaterThan(0)
    const fallbacks = [...metrics.fallbacks.values()].reduce((sum, count) => sum + count)
    expect(fallbacks).toBeGreaterThan(0)
  })

  test('a warm-up that is down is done without', async () => {
    site.write('a', randomBytes(MIB))
    const [port] = await freePorts(1)
    const member = await started(site.make({ warmup: `127.0.0.1:${port}` }))
    await member.preload()
    expect(cacheOf(member).slot('a')?.state).toBe('resident')
  })
})
