/**
 * How many files may be resident: each keeps descriptors open, and a process that has none left can
 * neither load a file nor answer a peer. The supervisor raises its limit as far as it may.
 */
import { readFileSync } from 'node:fs'

/** Descriptors of one file: ours, the sender's, and that of the source while it is filled. */
const DESCRIPTORS_A_FILE = 3

/** Descriptors left to sockets, logs and everything else. */
const DESCRIPTORS_MIN = 512

const LIMITS = '/proc/self/limits'

export function residentFilesMax(file = LIMITS): number {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // Not Linux.
  }
  const limit = Number(/^Max open files\s+(\d+)/m.exec(text)?.[1] ?? Number.POSITIVE_INFINITY)
  return Math.max(1, Math.floor((limit - DESCRIPTORS_MIN) / DESCRIPTORS_A_FILE))
}
