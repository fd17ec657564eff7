/**
 * Nothing is left behind after the suite: no process, no mount, no memory in a store. Looked at
 * when every file has ended, also those that failed; what is found is named, removed, and fails
 * the run.
 *
 *   setup      a name for this run in the environment, which every process inherits, and a
 *              temporary folder of its own, below which everything is mounted
 *   teardown   /proc/<pid>/environ with that name ─► a process
 *              mountinfo below that folder ─────────► a mount
 *              /dev/shm/warmpath-* ─────────────────► a store in shared memory
 *
 * A store on a private tmpfs has no path: it lives as long as a process or a mount that holds it,
 * so with these it is gone too (the memory itself is measured in model-cache/surroundings.test.ts).
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** Milliseconds in which processes that were told to end may still be seen. */
const GONE_MS_MAX = 10_000
const LOOK_MS = 50
const SHARED_MEMORY = '/dev/shm'
const NAME = 'WARMPATH_TEST_RUN'

interface Run {
  readonly mark: string
  readonly folder: string
  readonly stores: ReadonlySet<string>
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function stores(): string[] {
  return names(SHARED_MEMORY).filter(name => name.startsWith('warmpath-'))
}

/** Processes of this run that are no part of the test runner. */
function processes({ mark }: Run): { readonly pid: number; readonly command: string }[] {
  return names('/proc').flatMap(name => {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) return []
    if (!textOf(`/proc/${name}/environ`).split('\0').includes(`${NAME}=${mark}`)) return []
    const command = textOf(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim()
    return /vitest|esbuild/.test(command) ? [] : [{ pid, command }]
  })
}

function mounts({ folder }: Run): string[] {
  return textOf('/proc/self/mountinfo')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '')
    .filter(place => place.startsWith(`${folder}/`))
}

function found(run: Run): string[] {
  return [
    ...processes(run).map(({ pid, command }) => `process ${pid}: ${command}`),
    ...mounts(run).map(place => `mount ${place}`),
    ...stores()
      .filter(name => !run.stores.has(name))
      .map(name => `store ${path.join(SHARED_MEMORY, name)}`),
  ]
}

function remove(run: Run): void {
  for (const { pid } of processes(run)) process.kill(pid, 'SIGKILL')
  for (const place of mounts(run).toReversed()) execFileSync('umount', ['-l', place])
  rmSync(run.folder, { recursive: true, force: true })
}

export default function setup(): () => Promise<void> {
  const mark = randomBytes(8).toString('hex')
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-run-'))
  const run: Run = { mark, folder, stores: new Set(stores()) }
  process.env[NAME] = mark
  process.env['TMPDIR'] = folder
  return async () => {
    const deadlineMs = performance.now() + GONE_MS_MAX
    let left = found(run)
    while (left.length > 0 && performance.now() < deadlineMs) {
      await new Promise<void>(look => setTimeout(look, LOOK_MS))
      left = found(run)
    }
    remove(run)
    if (left.length > 0) throw new Error(`the tests left behind:\n  ${left.join('\n  ')}`)
  }
}
