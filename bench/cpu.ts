/**
 * Processor time and memory of another process, from /proc (Linux).
 *
 * Time is the first word of /proc/PID/task/TID/schedstat: nanoseconds on a core, user and system,
 * per thread, exact where /proc/PID/stat counts ticks of 10 ms. A thread's time vanishes with the
 * thread, so differences are taken per thread: one that ended between two readings is missing
 * from `spentNs`, one that began counts whole. Gateways keep their threads, so this is no loss
 * here; a pool that grows and shrinks within a cell would be undercounted.
 */
import { readdirSync, readFileSync } from 'node:fs'

export type ThreadTimes = ReadonlyMap<string, number>

export function readThreadTimes(pid: number): ThreadTimes {
  const times = new Map<string, number>()
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')
      times.set(thread, Number(text.split(' ', 1)[0]))
    } catch {
      // The thread ended between the listing and the reading.
    }
  }
  return times
}

export function spentNs(before: ThreadTimes, after: ThreadTimes): number {
  let spent = 0
  for (const [thread, time] of after) spent += time - (before.get(thread) ?? 0)
  return spent
}

/** Resident memory in MB (10⁶ bytes). */
export function readRssMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0)
  return Number(((kib * 1024) / 1e6).toFixed(1))
}
