/**
 * What this machine lets tests do. A test that cannot run here says so on stderr, once a file:
 * green then means "not looked at".
 */
import { accessSync, constants } from 'node:fs'

const problem = ((): string | null => {
  if (process.platform !== 'linux') return `this is ${process.platform}`
  if (process.getuid?.() !== 0) return 'not root'
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return null
  } catch {
    return '/dev/fuse cannot be opened'
  }
})()

/** Mounts, stores and leases can be had. */
export const canMount = problem === null

if (problem !== null) {
  process.stderr.write(
    `\n*** NOT TESTED HERE: the tests of ${process.argv.at(-1)} that need a mount (${problem}) ***\n\n`,
  )
}
