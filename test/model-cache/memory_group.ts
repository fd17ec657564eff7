/**
 * A cgroup of its own with a memory limit, where one can be made: below the one of this process,
 * so that its limits hold too. Where none can be made it says so, once a file.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { until } from './workplace.ts'

const ROOT = '/sys/fs/cgroup'

export interface MemoryGroup {
  /** A command that starts another one inside the group: its words go behind. */
  readonly wrapper: readonly string[]
  /** Where the kernel counts the processes that it killed. */
  readonly counter: string
  oomKills(): number
  /** Bytes of files of a tmpfs that are charged to the group. */
  shmemBytes(): number
  /** When its last process has gone. */
  remove(): Promise<void>
}

/** Path of the group of this process, and whether memory is counted by version 1. */
function ownGroup(): { folder: string; isFirst: boolean } {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n')
  const parts = lines.map(line => line.split(':'))
  const first = parts.find(([, names = '']) => names.split(',').includes('memory'))
  const name = (first ?? parts.find(([, names]) => names === ''))?.[2] ?? '/'
  return { folder: path.join(ROOT, first === undefined ? '' : 'memory', name), isFirst: !!first }
}

function limit(folder: string, isFirst: boolean, bytes: number): void {
  const [most, swap] = isFirst
    ? ['memory.limit_in_bytes', 'memory.swappiness']
    : ['memory.max', 'memory.swap.max']
  writeFileSync(path.join(folder, most), String(bytes))
  // What may be swapped out is not killed.
  writeFileSync(path.join(folder, swap), '0')
}

/** The group, or null and a word on stderr about why there is none. */
export function memoryGroup(bytes: number): MemoryGroup | null {
  const { folder: own, isFirst } = ownGroup()
  const folder = path.join(own, `warmpath-test-${process.pid}`)
  let isMade = false
  try {
    mkdirSync(folder)
    isMade = true
    limit(folder, isFirst, bytes)
  } catch (error) {
    if (isMade) rmdirSync(folder)
    const why = error instanceof Error ? error.message : String(error)
    process.stderr.write(
      `\n*** NOT TESTED HERE: what a memory cgroup shows (none can be made: ${why}) ***\n\n`,
    )
    return null
  }
  const counter = path.join(folder, isFirst ? 'memory.oom_control' : 'memory.events')
  const join = `echo $$ > ${folder}/cgroup.procs && exec "$0" "$@"`
  return {
    wrapper: ['sh', '-c', join],
    counter,
    shmemBytes: () => {
      const stat = readFileSync(path.join(folder, 'memory.stat'), 'utf8')
      return Number(/^shmem (\d+)$/m.exec(stat)?.[1])
    },
    oomKills: () => Number(/^oom_kill (\d+)$/m.exec(readFileSync(counter, 'utf8'))?.[1]),
    remove: () =>
      until(() => {
        try {
          rmdirSync(folder)
          return true
        } catch {
          return false
        }
      }),
  }
}
