/** Processes that are stopped and killed, and the store that they held: a folder without a path. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs'
import { expect } from 'vitest'
import { until } from './workplace.ts'

/** Whether a process is there, be it only its remains. */
export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The store as a process reaches it: a folder that has no path of its own. */
export function storeOf(pid: number): string {
  const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
  const handed = environment.find(line => line.startsWith('WARMPATH_HAND_OVER=')) ?? ''
  return `/proc/${pid}/fd/${handed.split(' ')[2]!.split(',')[1]!}/`
}

/** The one file of the store, or its sidecar. */
export function storeFile(pid: number, suffix: '' | '.meta'): string {
  const store = storeOf(pid)
  const names = readdirSync(store).filter(name => !name.startsWith('.'))
  const found = names.filter(name => name.endsWith('.meta') === (suffix === '.meta'))
  expect(found).toHaveLength(1)
  return store + found[0]!
}

export function flipBit(file: string, offset: number): void {
  const fd = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset)
  byte[0]! ^= 1
  writeSync(fd, byte, 0, 1, offset)
  closeSync(fd)
}

/** Whether a thread is stopped, or gone. */
function isStopped(stat: string): boolean {
  try {
    return /\) T /.test(readFileSync(stat, 'utf8'))
  } catch {
    return true
  }
}

/** Stops every thread of a process. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const tasks = `/proc/${pid}/task`
  await until(() => readdirSync(tasks).every(task => isStopped(`${tasks}/${task}/stat`)))
}
