/**
 * The configuration of `warmpath mount`: `--config FILE` in the article's shape, or two paths and
 * flags, which are the same thing for one entry. Errors name file, line and column, or the flag.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { z } from 'zod'
import { type CacheEntry, cacheEntries, cacheSchema, storageSchema } from '../model-cache/config.ts'
import { type FlagValues, UsageError } from './arguments.ts'
import { ConfigurationError } from './error.ts'
import type { Environment } from './flags.ts'
import { nearestName } from './nearest.ts'
import { parseYaml, type YamlFile } from './yaml_file.ts'

export const MOUNT_FLAGS = {
  config: { value: 'FILE', help: 'Caches of a file (JSON or YAML) in place of two paths' },
  capacity: { value: 'SIZE', help: 'Most memory that files take: 20GiB, 10G or bytes' },
  preload: {
    value: 'PATH',
    isRepeatable: true,
    help: 'Load this file or folder of the source at start; / is all',
  },
  warmup: { value: 'URL', help: 'The warm-up: host:port; it names the other members too' },
  peers: { value: 'LIST', isRepeatable: true, help: 'Other members: host:port,host:port' },
  mode: { value: 'MODE', help: 'auto (default), passthrough, copy or tmpfs' },
  listen: { value: 'HOST:PORT', help: 'For members and gateways (default: a port on loopback)' },
  'token-file': { value: 'FILE', help: 'The token that members share' },
  'source-id': { value: 'ID', help: 'What the source is called on every host (default: its path)' },
  'allow-other': { value: null, help: 'Let other users read' },
  'extra-root': {
    value: 'DIR',
    isRepeatable: true,
    help: 'A folder outside the source that links may lead to',
  },
  'pin-generation': { value: null, help: 'Keep a model as it is while it is being read' },
  'on-delete': { value: 'WHAT', help: 'error (default), or keep files that are in memory' },
  'no-huge-pages': { value: null, help: 'Hold files in small pages' },
  pin: { value: 'PATH', isRepeatable: true, help: 'A file or folder that is never evicted' },
  streams: { value: 'N', help: 'Chunks read from the source at once (default 4)' },
  revalidate: { value: 'TIME', help: 'Age at which an entry is compared anew (default 5s)' },
  scan: { value: 'TIME', help: 'Time between two looks at the whole source (default 30s)' },
  'open-timeout': {
    value: 'TIME',
    help: 'Longest wait of an open in vain (default 600s)',
  },
  'log-level': { value: 'LEVEL', help: 'silent, error, warn, info (default), debug' },
  help: { value: null, help: 'Print this and exit' },
} as const

export type MountFlags = FlagValues<typeof MOUNT_FLAGS>

function listed(texts: readonly string[] | undefined): string[] | undefined {
  return texts
    ?.flatMap(text => text.split(',').map(item => item.trim()))
    .filter(item => item !== '')
}

/** The flags as an entry of the file, to go through the same schema. */
function entryOf(flags: MountFlags, source: string, accelerated: string): object {
  const cache: Record<string, unknown> = {
    path: source,
    capacity: flags.capacity,
    preload: flags.preload,
    cacheroot_service: flags.warmup,
    peers: listed(flags.peers),
    mode: flags.mode,
    listen: flags.listen,
    token_file: flags['token-file'],
    source_id: flags['source-id'],
    allow_other: flags['allow-other'],
    extra_roots: flags['extra-root'],
    pin_generation: flags['pin-generation'],
    on_delete: flags['on-delete'],
    huge_pages: flags['no-huge-pages'] === true ? false : undefined,
    pins: flags.pin,
    streams: flags.streams,
    revalidate: flags.revalidate,
    scan: flags.scan,
    open_timeout: flags['open-timeout'],
  }
  const given = Object.entries(cache).filter(([, value]) => value !== undefined)
  return { storage: [{ mount_path: accelerated, cache: Object.fromEntries(given) }] }
}

const FLAG_OF: Readonly<Record<string, string>> = {
  cacheroot_service: 'warmup',
  extra_roots: 'extra-root',
  pins: 'pin',
}

function faultText(issue: z.core.$ZodIssue, yaml: YamlFile | null): string[] {
  const at = issue.path.map(step => (typeof step === 'number' ? step : String(step)))
  const spelled = at.map(step => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')
  const name = spelled.replace(/^\./, '')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(key => {
      const nearest = nearestName(key, Object.keys(cacheSchema.shape))
      const remedy = nearest === null ? '' : `; the nearest is "${nearest}"`
      const place = yaml?.placeOfKey(at, key) ?? 'cache'
      return `${place}: unknown key "${key}" under "${name}"${remedy}`
    })
  }
  const message = issue.message.replace(/^Invalid (?:input|option|string): /, '')
  if (yaml !== null) return [`${yaml.placeOf(at)}: ${name}: ${message}`]
  const key = String(at.at(-1) ?? '')
  const flag = FLAG_OF[key] ?? key.replaceAll('_', '-')
  const isMissing = key === 'capacity' && message.startsWith('expected')
  return [`--${flag}: ${isMissing ? message.replace('expected', 'give') : message}`]
}

function readFile(file: string, environment: Environment): YamlFile {
  try {
    return parseYaml(readFileSync(file, 'utf8'), file, environment)
  } catch (error) {
    if (error instanceof ConfigurationError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new ConfigurationError([`${file}: cannot be read (${reason})`])
  }
}

/** The caches to make; throws ConfigurationError or UsageError with every fault. */
export function loadStorage(
  flags: MountFlags,
  words: readonly string[],
  environment: Environment,
): CacheEntry[] {
  const [source, accelerated] = words
  if (flags.config !== undefined && words.length > 0) {
    throw new UsageError('give either --config FILE, or SOURCE and ACCELERATED')
  }
  if (flags.config === undefined && (source === undefined || accelerated === undefined)) {
    throw new UsageError('give SOURCE and ACCELERATED, or --config FILE; see --help')
  }
  if (flags.config === undefined && flags.capacity === undefined) {
    throw new UsageError('--capacity SIZE is missing, for example --capacity 20GiB')
  }
  const yaml = flags.config === undefined ? null : readFile(flags.config, environment)
  const data = yaml === null ? entryOf(flags, source!, accelerated!) : yaml.data
  const parsed = storageSchema.safeParse(data)
  if (!parsed.success) {
    throw new ConfigurationError(parsed.error.issues.flatMap(issue => faultText(issue, yaml)))
  }
  const folder = yaml === null ? process.cwd() : path.dirname(path.resolve(yaml.file))
  const { entries, faults } = cacheEntries(parsed.data, folder)
  if (faults.length > 0) throw new ConfigurationError(faults)
  return entries
}
