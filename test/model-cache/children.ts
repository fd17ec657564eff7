/**
 * The processes that the tests of one file have started. Whatever a test forgot, because it failed
 * or for another reason, is killed at its end; a mount that is left then is detached.
 */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mountFacts } from '../../src/model-cache/mount_point.ts'

/** Milliseconds for a process to end by itself once it was told to. */
const END_MS_MAX = 20_000

const children = new Set<ChildProcess>()

/** Remembers a process until it has ended. */
export function tracked<T extends ChildProcess>(child: T): T {
  children.add(child)
  child.once('exit', () => children.delete(child))
  // A program that is not there: whoever started it hears of it too.
  child.once('error', () => children.delete(child))
  return child
}

/** The exit status, or the name of the signal that ended it. */
export function exitOf(child: ChildProcess): Promise<number | string | null> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve(child.exitCode ?? child.signalCode)
  }
  return new Promise(resolve => {
    child.once('exit', (code, signal) => resolve(code ?? signal))
  })
}

/** Sends a signal and waits for the end; a process that does not end is killed, which shows. */
export async function end(child: ChildProcess, signal: NodeJS.Signals) {
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX)
  const ended = await exitOf(child)
  clearTimeout(timer)
  return ended
}

export function mountsBelow(folder: string): { readonly path: string; readonly type: string }[] {
  return mountFacts(readFileSync('/proc/self/mountinfo', 'utf8')).filter(({ path: place }) =>
    place.startsWith(folder),
  )
}

/** Kills what still runs, and detaches what is still mounted below the folder. */
export async function endAll(folder: string): Promise<void> {
  await Promise.all([...children].map(child => end(child, 'SIGKILL')))
  for (const { path: place } of mountsBelow(folder).toReversed()) {
    execFileSync('umount', ['-l', place])
  }
}
