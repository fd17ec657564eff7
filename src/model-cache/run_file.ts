/**
 * What a daemon leaves on disk about itself, beside its control socket: which process, which paths,
 * and for plain folders which names it has put into them. After a kill, the next start reads it to
 * tell its own leftovers from the files of others.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { controlName } from './control.ts'

const schema = z.object({
  pid: z.number(),
  accelerated: z.string(),
  names: z.array(z.string()),
})

export type RunFile = z.output<typeof schema>

function fileFor(folder: string, accelerated: string): string {
  return path.join(folder, `${controlName(accelerated)}.json`)
}

export function readRunFile(folder: string, accelerated: string): RunFile | null {
  try {
    const text = readFileSync(fileFor(folder, accelerated), 'utf8')
    const parsed = schema.safeParse(JSON.parse(text))
    return parsed.success && parsed.data.accelerated === accelerated ? parsed.data : null
  } catch {
    return null
  }
}

export function writeRunFile(folder: string, run: RunFile): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = fileFor(folder, run.accelerated)
  writeFileSync(`${file}.new`, JSON.stringify(run), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

export function removeRunFile(folder: string, accelerated: string): void {
  rmSync(fileFor(folder, accelerated), { force: true })
}

/** Whether a process of that id runs. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // A dead one that nobody has waited for still has an entry; the name before may hold anything.
    return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z')
  } catch {
    return false
  }
}
