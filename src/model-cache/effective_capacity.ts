/**
 * How much memory the cache may really take. Pages of a tmpfs are charged to the cgroup of whoever
 * writes them, and past its limit the writer is killed, not told: so the configured capacity is
 * shrunk at start to what the cgroup, the host and the file system of the store leave, and both
 * numbers are said.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { formatBytes } from './capacity.ts'

/** Bytes left to the daemon itself and to its neighbours in the cgroup. */
export const RESERVE_BYTES_MIN = 512 * 1024 * 1024

/** Where the kernel says it; another folder in tests. */
export interface MemoryFacts {
  readonly cgroupFolder: string
  readonly selfCgroup: string
  readonly meminfo: string
}

export const KERNEL_FACTS: MemoryFacts = {
  cgroupFolder: '/sys/fs/cgroup',
  selfCgroup: '/proc/self/cgroup',
  meminfo: '/proc/meminfo',
}

function numberIn(file: string): number | null {
  try {
    const text = readFileSync(file, 'utf8').trim()
    const value = Number(text)
    return text === 'max' || !Number.isFinite(value) ? null : value
  } catch {
    return null
  }
}

/** The least memory limit of this process's cgroup and those around it; null without one. */
export function cgroupLimit(facts: MemoryFacts = KERNEL_FACTS): number | null {
  let lines: string[]
  try {
    lines = readFileSync(facts.selfCgroup, 'utf8').trim().split('\n')
  } catch {
    return null
  }
  const limits: number[] = []
  for (const line of lines) {
    const [, controllers = '', group = '/'] = line.split(':')
    const isMemory = controllers === '' || controllers.split(',').includes('memory')
    if (!isMemory) continue
    const [root, name] =
      controllers === ''
        ? [facts.cgroupFolder, 'memory.max']
        : [path.join(facts.cgroupFolder, 'memory'), 'memory.limit_in_bytes']
    for (let at = group; ; at = path.dirname(at)) {
      const limit = numberIn(path.join(root, at, name))
      if (limit !== null) limits.push(limit)
      if (at === '/' || at === '.') break
    }
  }
  return limits.length === 0 ? null : Math.min(...limits)
}

function totalMemory(facts: MemoryFacts): number | null {
  try {
    const match = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync(facts.meminfo, 'utf8'))
    return match === null ? null : Number(match[1]) * 1024
  } catch {
    return null
  }
}

export interface EffectiveCapacity {
  readonly bytes: number
  /** Why it is less than was asked for, with both numbers; null when it is not. */
  readonly reason: string | null
}

/** What may be taken, for all caches of the process together. */
export function effectiveCapacity(
  configured: number,
  processBytes: number,
  facts: MemoryFacts = KERNEL_FACTS,
): EffectiveCapacity {
  const bounds = [
    { what: "the cgroup's memory limit", limit: cgroupLimit(facts) },
    { what: "the host's memory", limit: totalMemory(facts) },
  ]
  let bytes = configured
  let reason: string | null = null
  for (const { what, limit } of bounds) {
    if (limit === null) continue
    const most = Math.max(0, limit - processBytes - RESERVE_BYTES_MIN)
    if (most >= bytes) continue
    bytes = most
    reason =
      `capacity ${formatBytes(configured)} is more than ${what} of ${formatBytes(limit)} leaves: ` +
      `using ${formatBytes(most)}`
  }
  return { bytes, reason }
}

/** What may be taken of a file system that is not ours alone, and has so much left. */
export function roomOf(capacity: number, freeBytes: number | null): EffectiveCapacity {
  if (freeBytes === null || freeBytes >= capacity) return { bytes: capacity, reason: null }
  const reason =
    `capacity ${formatBytes(capacity)} is more than the file system of the store has left: ` +
    `using ${formatBytes(freeBytes)}`
  return { bytes: freeBytes, reason }
}
