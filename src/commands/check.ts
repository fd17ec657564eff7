/**
 * `warmpath check`: what `warmpath serve` with the same flags would run with, as YAML with every
 * secret masked; every fault and exit code 1 when it would not start.
 */
import { stringify } from 'yaml'
import { describeFlags, parseFlags } from '../config/arguments.ts'
import { withoutSecrets } from '../config/effective.ts'
import { SERVE_FLAGS } from '../config/flags.ts'
import { loadConfiguration } from '../config/load.ts'

const CHECK_FLAGS = {
  ...SERVE_FLAGS,
  json: { value: null, help: 'Print JSON instead of YAML' },
} as const

export async function run(argv: string[]): Promise<number> {
  const flags = parseFlags(CHECK_FLAGS, argv)
  if (flags.help) {
    process.stdout.write(`Usage: warmpath check [flags]\n\n${describeFlags(CHECK_FLAGS)}\n`)
    return 0
  }
  const shown = withoutSecrets(loadConfiguration(flags, process.env))
  process.stdout.write(flags.json ? `${JSON.stringify(shown, null, 2)}\n` : stringify(shown))
  return 0
}
