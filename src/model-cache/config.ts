/**
 * The configuration of `warmpath mount` and `warmpath warmup`: the shape of PAI's model cache
 * acceleration, so that its JSON can be pasted, and what Warmpath adds inside `cache`.
 *
 *   {"storage":[
 *     {"mount_path":"/mnt/X/","oss":{"path":"oss://bucket/X/"}},
 *     {"mount_path":"/mnt/X-fast/","cache":{"path":"/mnt/X/","capacity":"10G","preload":"/"}}]}
 *
 * Entries without `cache` are mounted by somebody else; those with `oss` or `nas` lend the cache
 * entries whose path lies in theirs their source id. Keys around `cache` that belong to others are
 * let pass; inside `cache` an unknown key is an error.
 */
import path from 'node:path'
import { z } from 'zod'
import { duration, integer } from '../setting.ts'
import { parseCapacity } from './capacity.ts'
import { placeOf } from './hello.ts'
import { DELETED } from './pinned.ts'

export const MODES = ['auto', 'passthrough', 'copy', 'tmpfs'] as const
export type Mode = (typeof MODES)[number]

/** Caches of one daemon: each has a mount, a store and some threads. */
const ENTRIES_MAX = 64

function capacitySetting() {
  return z
    .union([z.string(), z.number()], { error: 'expected a size such as "20GiB"' })
    .transform((value, ctx) => {
      const parsed = parseCapacity(value)
      if (typeof parsed === 'number') return parsed
      ctx.addIssue({ code: 'custom', message: parsed.fault })
      return z.NEVER
    })
}

/** `host:port` of another member, as it was written. */
function memberSetting() {
  const error = 'expected host:port or http://host:port'
  return z.string().refine(text => placeOf(text) !== null, { error })
}

const paths = z.array(z.string().min(1).max(4096)).max(1024)

export const cacheSchema = z.strictObject({
  path: z.string().min(1).describe('Source path: a directory, local or mounted by somebody else.'),
  capacity: capacitySetting().describe('Most memory that files take: "10G", "20GiB" or bytes.'),
  preload: z
    .union([z.string().min(1), paths])
    .optional()
    .describe('"/" loads every file at start; or a path, or a list of paths, below the source.'),
  cacheroot_service: memberSetting()
    .optional()
    .describe('The warm-up, host:port or http://host:port; it is the registry of members too.'),
  peers: z.array(memberSetting()).max(1024).prefault([]).describe('Other members, host:port each.'),
  source_id: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe(
      'What the source is called on every host; default: the oss or nas path, else the path.',
    ),
  mode: z
    .enum(MODES)
    .default('auto')
    .describe('How files are served; auto takes the best that the host permits and says why.'),
  open_timeout: duration(100)
    .prefault('600s')
    .describe('An open that waits longer, without a chunk arriving, fails with EIO.'),
  revalidate: duration(0)
    .prefault('5s')
    .describe('A lookup or open of a file that was last compared longer ago asks the source.'),
  scan: duration(100).prefault('30s').describe('Time between two looks at the whole source.'),
  streams: integer(1, 32).prefault(4).describe('Chunks read from the source at once.'),
  listen: z
    .string()
    .min(1)
    .optional()
    .describe('host:port for members and gateways; default: a free port on loopback.'),
  token_file: z
    .string()
    .min(1)
    .optional()
    .describe('File with the token that members share; needed to listen beyond loopback.'),
  allow_other: z.boolean().default(false).describe('Let other users than this one read.'),
  extra_roots: paths
    .prefault([])
    .describe('Folders outside the source that links may lead to, such as a shared blobs folder.'),
  pin_generation: z
    .boolean()
    .default(false)
    .describe('A model that is being read stays as it is until five seconds after the last close.'),
  on_delete: z
    .enum(DELETED)
    .default('error')
    .describe('What readers of a deleted file get: error, or keep it while it is in memory.'),
  huge_pages: z
    .boolean()
    .default(true)
    .describe('Hold files in huge pages; without them reads are half as fast.'),
  pins: paths.prefault([]).describe('Files or folders that are never evicted.'),
})

const placeSchema = z.looseObject({ path: z.string().optional() })

const entrySchema = z.looseObject({
  mount_path: z.string().min(1).describe('Accelerated path.'),
  cache: cacheSchema.optional(),
  oss: placeSchema.optional(),
  nas: placeSchema.optional(),
})

export const storageSchema = z.looseObject({
  storage: z
    .array(entrySchema)
    .min(1)
    .max(ENTRIES_MAX)
    .describe('The mounts; those with `cache` are made by this command.'),
})

export type CacheSettings = z.output<typeof cacheSchema>

/** One cache to be made: the settings with every path absolute. */
export interface CacheEntry extends CacheSettings {
  readonly accelerated: string
  readonly sourceId: string
}

function isInside(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(outer === '/' ? '/' : `${outer}/`)
}

/** What is wrong with two paths, or null: they may not be equal nor lie in each other. */
export function overlapFault(source: string, accelerated: string): string | null {
  if (source === accelerated) {
    return `the accelerated path ${accelerated} is the source path: choose another`
  }
  if (isInside(accelerated, source)) {
    return `the accelerated path ${accelerated} lies inside the source ${source}`
  }
  if (isInside(source, accelerated)) {
    return `the source ${source} lies inside the accelerated path ${accelerated}`
  }
  return null
}

type Storage = z.output<typeof storageSchema>

/** The id of a source: that of the enclosing oss or nas entry, with the rest of the path. */
function sourceIdOf(storage: Storage['storage'], source: string): string {
  for (const entry of storage) {
    const outside = entry.oss?.path ?? entry.nas?.path
    const root = path.resolve(entry.mount_path)
    if (outside === undefined || !isInside(source, root)) continue
    const rest = path.relative(root, source)
    const base = outside.replace(/\/+$/, '')
    return rest === '' ? base : `${base}/${rest}`
  }
  return source
}

/** The caches that a configuration asks for, and what is wrong between them. */
export function cacheEntries(
  { storage }: Storage,
  folder: string,
): { readonly entries: CacheEntry[]; readonly faults: string[] } {
  const entries = storage.flatMap(entry => {
    if (entry.cache === undefined) return []
    const source = path.resolve(folder, entry.cache.path)
    const accelerated = path.resolve(folder, entry.mount_path)
    const sourceId = entry.cache.source_id ?? sourceIdOf(storage, source)
    return [{ ...entry.cache, path: source, accelerated, sourceId }]
  })
  // Also of different entries: a daemon that loads from its own accelerated path waits for itself.
  const faults = entries.flatMap(({ path: source }) =>
    entries.flatMap(({ accelerated }) => overlapFault(source, accelerated) ?? []),
  )
  entries.forEach(({ accelerated }, at) => {
    for (const other of entries.slice(at + 1)) {
      if (!isInside(accelerated, other.accelerated) && !isInside(other.accelerated, accelerated)) {
        continue
      }
      faults.push(`the accelerated paths ${accelerated} and ${other.accelerated} overlap`)
    }
  })
  if (entries.length === 0) faults.push('no entry of storage has "cache"')
  return { entries, faults }
}

/** Whether a path of the source is to be loaded at start. */
export function isPreloaded(preload: CacheSettings['preload'], name: string): boolean {
  return preloadPrefixes(preload).some(prefix => isBelow(prefix, name))
}

/** The prefixes to be loaded at start below which none of the source's files lies. */
export function emptyPreloads(
  preload: CacheSettings['preload'],
  names: readonly string[],
): readonly string[] {
  return preloadPrefixes(preload).filter(prefix => !names.some(name => isBelow(prefix, name)))
}

function preloadPrefixes(preload: CacheSettings['preload']): readonly string[] {
  if (preload === undefined) return []
  return typeof preload === 'string' ? [preload] : preload
}

function isBelow(prefix: string, name: string): boolean {
  const below = prefix.replace(/^\/+|\/+$/g, '')
  return below === '' || isInside(name, below)
}
