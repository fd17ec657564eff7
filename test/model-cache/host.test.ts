/** What the host says: memory limits, mounts; and what a terminal is shown. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  cgroupLimit,
  effectiveCapacity,
  type MemoryFacts,
  RESERVE_BYTES_MIN,
} from '../../src/model-cache/effective_capacity.ts'
import { mountFacts } from '../../src/model-cache/mount_point.ts'
import { progressLine } from '../../src/model-cache/progress.ts'

const GIB = 2 ** 30
let folder = ''
let facts: MemoryFacts

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-host-'))
  facts = {
    cgroupFolder: path.join(folder, 'cgroup'),
    selfCgroup: path.join(folder, 'self'),
    meminfo: path.join(folder, 'meminfo'),
  }
  writeFileSync(facts.meminfo, `MemTotal:       ${(64 * GIB) / 1024} kB\nMemFree: 1 kB\n`)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, text: string): void {
  mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
  writeFileSync(path.join(folder, name), text)
}

test('the least limit of the groups around the process counts', () => {
  write('self', '0::/pod/container\n')
  write('cgroup/pod/memory.max', `${8 * GIB}\n`)
  write('cgroup/pod/container/memory.max', 'max\n')
  expect(cgroupLimit(facts)).toBe(8 * GIB)
})

test('version 1 of cgroups is read too', () => {
  write('self', '9:cpu:/x\n4:memory:/pod\n')
  write('cgroup/memory/pod/memory.limit_in_bytes', `${4 * GIB}\n`)
  expect(cgroupLimit(facts)).toBe(4 * GIB)
})

test('a capacity above the limit is shrunk, and both numbers are said', () => {
  write('self', '0::/pod\n')
  write('cgroup/pod/memory.max', `${2 * GIB}\n`)
  const { bytes, reason } = effectiveCapacity(10 * GIB, 100, facts)
  expect(bytes).toBe(2 * GIB - 100 - RESERVE_BYTES_MIN)
  expect(reason).toMatch(/10\.0 GiB .* cgroup's memory limit of 2\.0 GiB .* using 1\.5 GiB/)
})

test('without limits the capacity stays, and the host is a limit too', () => {
  expect(effectiveCapacity(10 * GIB, 0, facts)).toEqual({ bytes: 10 * GIB, reason: null })
  expect(effectiveCapacity(100 * GIB, 0, facts).reason).toContain("host's memory")
})

test('mountinfo is read with its escapes', () => {
  const text = [
    '22 1 0:21 / /proc rw shared:5 - proc proc rw',
    String.raw`99 1 0:50 / /mnt/a\040b ro,nosuid - fuse.warmpath warmpath ro`,
    'nonsense',
  ].join('\n')
  expect(mountFacts(text)).toEqual([
    { path: '/proc', type: 'proc' },
    { path: '/mnt/a b', type: 'fuse.warmpath' },
  ])
})

test('the bar shows share, amount, rate and time left', () => {
  expect(progressLine(31 * GIB, 62 * GIB, 10)).toBe(
    '[############------------]  50 %   31.0 GiB of 62.0 GiB   3.1 GiB/s   10 s left',
  )
  expect(progressLine(0, GIB, 0)).toContain('starting')
})
