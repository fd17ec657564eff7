/**
 * Reads the flags of a command with `node:util` parseArgs: every flag is described once, for the
 * reader, for `--help` and for docs/configuration.md. A flag that is not known is an error with
 * the nearest name, and so is a flag without its value, or a word too many.
 */
import { parseArgs } from 'node:util'
import { nearestName } from './nearest.ts'

/** A command line that cannot be read: exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

export interface FlagSpec {
  /** What stands for the value in `--help`; null: the flag takes no value. */
  readonly value: string | null
  readonly isRepeatable?: boolean
  readonly help: string
}
export type FlagSpecs = Readonly<Record<string, FlagSpec>>

/** What was given: text, all texts of a repeatable flag, or true. */
export type FlagValues<S extends FlagSpecs> = {
  readonly [K in keyof S]?: S[K] extends { readonly value: null }
    ? true
    : S[K] extends { readonly isRepeatable: true }
      ? readonly string[]
      : string
}

function optionsOf(specs: FlagSpecs) {
  const options = Object.entries(specs).map(([name, spec]) => [
    name,
    { type: spec.value === null ? 'boolean' : 'string', multiple: spec.isRepeatable ?? false },
  ])
  // Decode boundary: Object.fromEntries loses the type of the entries made above.
  return Object.fromEntries(options) as Record<
    string,
    { type: 'boolean' | 'string'; multiple: boolean }
  >
}

function refuseUnknown(specs: FlagSpecs, args: readonly string[]): void {
  const { tokens } = parseArgs({
    args: [...args],
    options: optionsOf(specs),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind === 'positional') throw new UsageError(`unexpected argument "${token.value}"`)
    if (token.kind !== 'option' || Object.hasOwn(specs, token.name)) continue
    const nearest = nearestName(token.name, Object.keys(specs))
    const remedy = nearest === null ? 'see --help' : `the nearest is --${nearest}`
    throw new UsageError(`unknown flag ${token.rawName}; ${remedy}`)
  }
}

/** The flags in `args`; throws UsageError. */
export function parseFlags<const S extends FlagSpecs>(
  specs: S,
  args: readonly string[],
): FlagValues<S> {
  refuseUnknown(specs, args)
  try {
    const { values } = parseArgs({ args: [...args], options: optionsOf(specs), strict: true })
    // Decode boundary: parseArgs types by its options, which were computed from the specs.
    return values as FlagValues<S>
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message.split('. ')[0]! : String(error))
  }
}

/** The lines of `--help` that describe flags. */
export function describeFlags(specs: FlagSpecs): string {
  const heads = Object.entries(specs).map(([name, spec]) =>
    spec.value === null ? `--${name}` : `--${name} ${spec.value}`,
  )
  const width = Math.max(...heads.map(head => head.length))
  const helps = Object.values(specs).map(
    spec => spec.help + (spec.isRepeatable ? ' (repeatable)' : ''),
  )
  return heads.map((head, index) => `  ${head.padEnd(width)}  ${helps[index]}`).join('\n')
}
