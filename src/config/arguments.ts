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

/** What a flag with a few possible values was given. */
export function choiceOf<T extends string>(
  flag: string,
  given: string | undefined,
  choices: readonly T[],
  otherwise: T,
): T {
  if (given === undefined) return otherwise
  const choice = choices.find(known => known === given)
  if (choice !== undefined) return choice
  throw new UsageError(`--${flag}: expected ${choices.join(', ')}, not "${given}"`)
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

/** Refuses what no flag of the specs explains; gives the words that are no flags. */
function refuseUnknown(specs: FlagSpecs, args: readonly string[], wordsMax: number): string[] {
  const words: string[] = []
  const { tokens } = parseArgs({
    args: [...args],
    options: optionsOf(specs),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (words.length === wordsMax) throw new UsageError(`unexpected argument "${token.value}"`)
      words.push(token.value)
    }
    if (token.kind !== 'option' || Object.hasOwn(specs, token.name)) continue
    const nearest = nearestName(token.name, Object.keys(specs))
    const remedy = nearest === null ? 'see --help' : `the nearest is --${nearest}`
    throw new UsageError(`unknown flag ${token.rawName}; ${remedy}`)
  }
  return words
}

/** The flags in `args`; throws UsageError. */
export function parseFlags<const S extends FlagSpecs>(
  specs: S,
  args: readonly string[],
): FlagValues<S> {
  return parseWords(specs, args, 0).flags
}

/** The flags in `args`, and at most `wordsMax` words that are none; throws UsageError. */
export function parseWords<const S extends FlagSpecs>(
  specs: S,
  args: readonly string[],
  wordsMax: number,
): { readonly flags: FlagValues<S>; readonly words: readonly string[] } {
  const words = refuseUnknown(specs, args, wordsMax)
  try {
    const options = { args: [...args], options: optionsOf(specs), strict: true } as const
    const { values } = parseArgs({ ...options, allowPositionals: wordsMax > 0 })
    // Decode boundary: parseArgs types by its options, which were computed from the specs.
    return { flags: values as FlagValues<S>, words }
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
