/** A source that hangs or fails in some of its files: the others are loaded meanwhile. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { deferred } from '../../src/model-cache/deferred.ts'
import type { Member, MemberOptions } from '../../src/model-cache/member.ts'
import { SourceError } from '../../src/model-cache/source.ts'
import { bytesOf, cacheOf, Site } from './members.ts'

const MIB = 2 ** 20
const MOVERS = [
  ['native', true],
  ['javascript', false],
] as const

let site: Site
/** What holds back the reads of files that are called `bad`. */
let gate = deferred<void>()
afterEach(() => site.close())

async function started(options: Partial<MemberOptions>): Promise<Member> {
  const member = site.make(options)
  await member.start()
  return member
}

async function load(member: Member, name: string): Promise<string> {
  const cache = cacheOf(member)
  return (await cache.want(cache.slot(name)!, 'open')).kind
}

describe.each(MOVERS)('%s: a source that hangs', (_, isNative) => {
  beforeEach(() => {
    site = new Site(isNative)
    site.write('m/bad', randomBytes(40 * MIB))
    gate = deferred()
    site.weather.onRead = (_offset, file) => (file === 'bad' ? gate.promise : undefined)
  })
  afterEach(() => gate.resolve())

  test('in one file, the others are read, however often that one is tried', async () => {
    for (const name of ['a', 'b']) site.write(`m/${name}`, randomBytes(9 * MIB))
    const member = await started({ openMsMax: 2500 })
    const bad = load(member, 'm/bad')
    expect(await load(member, 'm/a')).toBe('resident')
    expect(await bad).toBe('failed')
    expect([cacheOf(member).slot('m/bad')!.state, member.residents.usedBytes]).toEqual([
      'absent',
      9 * MIB,
    ])
    const again = load(member, 'm/bad')
    expect(await load(member, 'm/b')).toBe('resident')
    expect(await again).toBe('failed')
    gate.resolve()
    await vi.waitUntil(async () => (await load(member, 'm/bad')) === 'resident')
    expect(bytesOf(member, 'm/bad')?.equals(readFileSync(path.join(site.root, 'm/bad')))).toBe(true)
  })

  test('in many files, one slot is lost for each but the first', async () => {
    for (let i = 0; i < 6; i += 1) site.write(`m/${i}/bad`, randomBytes(9 * MIB))
    site.write('m/good', randomBytes(9 * MIB))
    const member = await started({ openMsMax: 20_000 })
    const bad = ['m/bad', ...[...Array(6).keys()].map(i => `m/${i}/bad`)]
    const loads = bad.map(name => load(member, name))
    expect(await load(member, 'm/good')).toBe('resident')
    gate.resolve()
    expect(new Set(await Promise.all(loads))).toEqual(new Set(['resident']))
  })
})

test('a file whose reads fail leaves the lane to the others', async () => {
  site = new Site(true)
  site.write('m/bad', randomBytes(40 * MIB))
  site.write('m/good', randomBytes(9 * MIB))
  site.weather.onRead = (_, file) => {
    if (file === 'bad') throw new SourceError('io', 'the weather is bad')
  }
  const member = await started({ openMsMax: 2500 })
  const bad = load(member, 'm/bad')
  expect(await load(member, 'm/good')).toBe('resident')
  expect(await bad).toBe('failed')
})
