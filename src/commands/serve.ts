/**
 * `warmpath serve`: reads the flags, and starts two things side by side.
 *
 *     flags ──┬──► a gateway thread loads its modules (200 ms) ───┬──► configured, listening
 *             └──► this thread loads the control plane (300 ms) ──┘
 *
 * One after the other they would take most of a second, which is how long a crashed gateway would
 * be away. So this file imports nothing that is slow; `serving.ts` is the command itself.
 */
import { describeFlags, parseFlags } from '../config/arguments.ts'
import { SERVE_FLAGS } from '../config/flags.ts'
import { prepareThread } from './gateway_threads.ts'

export async function run(argv: readonly string[]): Promise<number> {
  const flags = parseFlags(SERVE_FLAGS, argv)
  if (flags.help === true) {
    process.stdout.write(`Usage: warmpath [serve] [flags]\n\n${describeFlags(SERVE_FLAGS)}\n`)
    return 0
  }
  const first = prepareThread()
  const { serve } = await import('./serving.ts')
  return serve(flags, first)
}
