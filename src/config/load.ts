/**
 * From file, environment and flags to one checked configuration.
 *
 *   file ──► plain data with places ─┐
 *   environment ──► overrides ───────┼──► one tree ──► schema ──► rules ──► Configuration
 *   flags ──► overrides ─────────────┘        every fault with its place and remedy
 *
 * Later sources win; lists are replaced whole. Relative paths in the file start at the file's
 * folder, those of flags at the working folder. Everything here is synchronous and runs at start
 * and on a reload, on the main thread.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { z } from 'zod'
import { formatAddress, PORT_MAX, parseAddress } from '../address.ts'
import { TOY_TOKENIZER } from '../prompt/tokenizer.ts'
import { type Configuration, frozen } from './effective.ts'
import { ConfigurationError } from './error.ts'
import {
  type Environment,
  type ListenOverride,
  listenOverride,
  overridesOf,
  type ServeFlags,
} from './flags.ts'
import { nearestName } from './nearest.ts'
import { brokenRules, type Fault } from './rules.ts'
import { configurationSchema, keysUnder } from './schema.ts'
import { parseYaml, type SettingPath, type YamlFile } from './yaml_file.ts'

type Tree = Record<string, unknown>

/** The tree of settings and where each came from. */
interface Sources {
  readonly tree: Tree
  readonly yaml: YamlFile | null
  /** Path joined by "." to the flag or variable that set it. */
  readonly origins: ReadonlyMap<string, string>
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ConfigurationError([`${file}: cannot be read (${reason})`])
  }
}

function readFile(file: string, environment: Environment): { yaml: YamlFile; tree: Tree } {
  const yaml = parseYaml(readText(file), file, environment)
  if (yaml.data !== null && !isTree(yaml.data)) {
    throw new ConfigurationError([`${file}:1:1: expected keys such as "nodes:"`])
  }
  const tree = yaml.data ?? {}
  resolvePaths(tree, path.dirname(path.resolve(file)))
  return { yaml, tree }
}

/** Makes the paths in the file absolute; what has the wrong type is left for the schema. */
function resolvePaths(tree: Tree, folder: string): void {
  const resolve = (owner: Tree, key: string, kept: readonly string[]): void => {
    const value = owner[key]
    if (typeof value !== 'string' || value === '' || kept.includes(value)) return
    owner[key] = path.resolve(folder, value)
  }
  resolve(tree, 'api_keys_file', [])
  if (isTree(tree.log)) resolve(tree.log, 'destination', ['stdout', 'stderr'])
  if (!Array.isArray(tree.models)) return
  for (const model of tree.models) if (isTree(model)) resolve(model, 'tokenizer', [TOY_TOKENIZER])
}

function put(tree: Tree, at: readonly string[], value: unknown): void {
  const [key = '', ...rest] = at
  if (rest.length === 0) {
    tree[key] = value
    return
  }
  const inner = isTree(tree[key]) ? tree[key] : {}
  tree[key] = inner
  put(inner, rest, value)
}

/** `listen` with host or port replaced; a value in the file that is no address stays as it is. */
function joinListen(tree: Tree, override: ListenOverride): void {
  const listen = tree.listen ?? '127.0.0.1:8100'
  const base = typeof listen === 'string' || typeof listen === 'number' ? String(listen) : ''
  const parsed = parseAddress(base)
  if (parsed === null && (override.host === undefined || override.port === undefined)) return
  const host = (override.host ?? parsed?.host ?? '').replace(/^\[(.*)\]$/, '$1')
  const port = override.port ?? parsed?.port
  tree.listen = `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function gather(flags: ServeFlags, environment: Environment): Sources {
  const named = flags.config ?? (environment.WARMPATH_CONFIG || undefined)
  const file = named === undefined ? null : readFile(named, environment)
  const tree = file?.tree ?? {}
  const origins = new Map<string, string>()
  for (const { path: at, value, origin } of overridesOf(flags, environment)) {
    put(tree, at, value)
    origins.set(at.join('.'), origin)
  }
  const listen = listenOverride(flags, environment)
  if (listen !== null) {
    joinListen(tree, listen)
    origins.set('listen', listen.origin)
  }
  return { tree, yaml: file?.yaml ?? null, origins }
}

/** Where a setting came from: a flag, a variable, or a line of the file. */
function placeOf(sources: Sources, at: SettingPath): string {
  for (let length = at.length; length > 0; length -= 1) {
    const origin = sources.origins.get(at.slice(0, length).join('.'))
    if (origin !== undefined) return origin
  }
  return sources.yaml?.placeOf(at) ?? 'configuration'
}

function spelled(at: SettingPath): string {
  return at
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : index ? `.${step}` : step))
    .join('')
}

function faultsOf(sources: Sources, issue: z.core.$ZodIssue): string[] {
  const at = issue.path.map(step => (typeof step === 'number' ? step : String(step)))
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(key => {
      const under = at.length === 0 ? '' : ` under "${spelled(at)}"`
      const nearest = nearestName(key, keysUnder(at))
      const remedy = nearest === null ? '' : `; the nearest is "${nearest}"`
      const place = sources.yaml?.placeOfKey(at, key) ?? placeOf(sources, at)
      return `${place}: unknown key "${key}"${under}${remedy}`
    })
  }
  const message = issue.message.replace(/^Invalid (?:input|option|string): /, '')
  return [`${placeOf(sources, at)}: ${spelled(at)}: ${message}`]
}

function keysInFile(file: string): string[] {
  const lines = readText(file).split('\n')
  return lines.map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'))
}

function parse(sources: Sources): z.output<typeof configurationSchema> {
  const first = configurationSchema.safeParse(sources.tree)
  if (!first.success) {
    const faults = first.error.issues.flatMap(issue => faultsOf(sources, issue))
    faults.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    throw new ConfigurationError(faults)
  }
  if (first.data.api_keys_file === undefined) return first.data
  // Keys of the file go through the schema like all others, at the place of the file's name.
  const keys = keysInFile(path.resolve(first.data.api_keys_file))
  const checked = configurationSchema.shape.api_keys.safeParse(keys)
  if (!checked.success) {
    const faults = checked.error.issues.map(
      issue => `${first.data.api_keys_file}: key ${Number(issue.path[0]) + 1}: ${issue.message}`,
    )
    throw new ConfigurationError(faults)
  }
  return { ...first.data, api_keys: [...first.data.api_keys, ...checked.data] }
}

/** The configuration of a gateway; throws ConfigurationError with every fault found. */
export function loadConfiguration(flags: ServeFlags, environment: Environment): Configuration {
  const sources = gather(flags, environment)
  const parsed = parse(sources)
  const { listen } = parsed
  if (parsed.admin === undefined && listen.port === PORT_MAX) {
    const place = formatAddress(listen)
    const message = `no port is left after ${place} for the admin listener: set admin`
    throw new ConfigurationError([`${placeOf(sources, ['listen'])}: ${message}`])
  }
  const adminPort = listen.port === 0 ? 0 : listen.port + 1
  const configuration: Configuration = {
    ...parsed,
    admin: parsed.admin ?? { host: '127.0.0.1', port: adminPort },
    api_keys: [...new Set(parsed.api_keys)],
    admin_keys: [...new Set(parsed.admin_keys)],
    api_keys_file: parsed.api_keys_file ?? null,
    file: sources.yaml === null ? null : path.resolve(sources.yaml.file),
  }
  const broken = brokenRules(configuration)
  if (broken.length > 0) {
    const line = (fault: Fault): string =>
      `${placeOf(sources, fault.path)}: ${spelled(fault.path)}: ${fault.message}`
    throw new ConfigurationError(broken.map(line))
  }
  return frozen(configuration)
}
