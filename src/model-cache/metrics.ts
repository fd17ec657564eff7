/**
 * The metrics of a cache daemon: Prometheus text of its own, because the daemon is another process
 * than the gateway and its labels (peers, models) are known only at run time. Labels are bounded by
 * the limits of what they name.
 */
import type { Fallback } from './hydrator.ts'
import type { EvictionReason } from './residents.ts'
import type { Tier } from './routes.ts'

const PREFIX = 'warmpath_model_cache_'

export interface CacheMetric {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly labels: readonly string[]
  readonly help: string
}

function metric(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  ...labels: string[]
): CacheMetric {
  return { name: PREFIX + name, type, labels, help }
}

/** Every metric, in the order in which it is rendered; docs/model-cache.md is compared with it. */
export const CACHE_METRICS = {
  bytes: metric(
    'counter',
    'bytes_total',
    'Bytes by where they came from; for local and past the cache the size of each file opened.',
    'tier',
  ),
  sent: metric('counter', 'sent_bytes_total', 'Bytes sent to other members.'),
  opens: metric('counter', 'opens_total', 'Opens by what they found.', 'result'),
  fallbacks: metric('counter', 'fallback_total', 'Chunks sent to a worse route.', 'reason'),
  hydrate: metric(
    'gauge',
    'hydrate_bytes_per_second',
    'Rate of the last file of at least 64 MiB, from first to last byte.',
  ),
  files: metric('gauge', 'files', 'Files by state.', 'state'),
  residentBytes: metric('gauge', 'resident_bytes', 'Bytes of files that are whole in memory.'),
  used: metric('gauge', 'used_bytes', 'Bytes of the store in use, with those of old readers.'),
  capacity: metric('gauge', 'capacity_bytes', 'Bytes that files may take.', 'kind'),
  hitRatio: metric('gauge', 'hit_ratio', 'Share of opens that found the file in memory.'),
  evictions: metric('counter', 'evictions_total', 'Files taken out of memory.', 'reason'),
  mismatches: metric('counter', 'chunk_mismatch_total', 'Chunks with wrong bytes.', 'peer'),
  generations: metric('counter', 'generation_changes_total', 'Source files that changed.'),
  peers: metric('gauge', 'peers', 'Members known, by state.', 'state'),
  amplification: metric(
    'gauge',
    'source_amplification',
    'Bytes read from the source by this member for each byte that became resident.',
  ),
  modelReady: metric(
    'gauge',
    'model_ready_seconds',
    'Time from the first file of a model wanted to the last one there.',
    'model',
  ),
  ready: metric('gauge', 'ready', '1 when the preload is done.'),
  mode: metric('gauge', 'mode', '1 for the mode in which files are served.', 'mode'),
  hugePages: metric(
    'gauge',
    'huge_page_ratio',
    'Share of the resident bytes of files of at least 2 MiB that lies in huge pages.',
  ),
  notesLost: metric(
    'counter',
    'notes_lost_total',
    'Notes beside files that could not be written: a restart loads these files again.',
  ),
  restarts: metric(
    'gauge',
    'daemon_restarts',
    'Times that the supervisor started the daemon anew.',
  ),
} as const satisfies Record<string, CacheMetric>

export type CacheMetricKey = keyof typeof CACHE_METRICS

/** Models whose time to ready is remembered. */
const MODELS_MAX = 256

/** Bytes of a file below which its rate says nothing. */
const RATED_BYTES_MIN = 64 * 1024 * 1024

function add(map: Map<string, number>, key: string, by = 1): void {
  map.set(key, (map.get(key) ?? 0) + by)
}

export class CacheMetrics {
  readonly tierBytes = new Map<string, number>()
  readonly fallbacks = new Map<string, number>()
  readonly evictions = new Map<string, number>()
  readonly mismatches = new Map<string, number>()
  readonly opens = new Map<string, number>()
  readonly modelReadySeconds = new Map<string, number>()
  passedBytes = 0
  generations = 0
  notesLost = 0
  sentBytes = 0
  /** Read from the source to be compared with what a peer gave. */
  checkedBytes = 0
  hydrateBytesPerSecond = 0

  tier(tier: Tier, bytes: number): void {
    add(this.tierBytes, tier, bytes)
  }

  fallback(reason: Fallback): void {
    add(this.fallbacks, reason)
  }

  evicted(reason: EvictionReason): void {
    add(this.evictions, reason)
  }

  mismatch(peer: string): void {
    add(this.mismatches, peer)
  }

  opened(result: 'hit' | 'miss' | 'bypass' | 'error', count = 1): void {
    if (count > 0) add(this.opens, result, count)
  }

  /** Bytes that were read from the source by who opened a file, and not kept. */
  passed(bytes: number): void {
    this.passedBytes += bytes
    add(this.tierBytes, 'source', bytes)
  }

  filled(bytes: number, milliseconds: number): void {
    if (bytes < RATED_BYTES_MIN) return
    this.hydrateBytesPerSecond = Math.round((bytes / Math.max(1, milliseconds)) * 1000)
  }

  modelReady(model: string, milliseconds: number): void {
    this.modelReadySeconds.delete(model)
    this.modelReadySeconds.set(model, milliseconds / 1000)
    if (this.modelReadySeconds.size <= MODELS_MAX) return
    const [oldest] = this.modelReadySeconds.keys()
    if (oldest !== undefined) this.modelReadySeconds.delete(oldest)
  }

  get hitRatio(): number {
    const hits = this.opens.get('hit') ?? 0
    const all = [...this.opens.values()].reduce((sum, count) => sum + count, 0)
    return all === 0 ? 0 : hits / all
  }

  /** Bytes that came to be kept. */
  get hydratedBytes(): number {
    const arrived = ['peer', 'warmup', 'source'].map(tier => this.tierBytes.get(tier) ?? 0)
    return arrived.reduce((sum, bytes) => sum + bytes) - this.passedBytes
  }
}

/** Values of one metric: a number, or a number for each value of its label. */
export type CacheSample = number | ReadonlyMap<string, number>

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

export function renderCacheMetrics(samples: Readonly<Record<CacheMetricKey, CacheSample>>): string {
  const lines: string[] = []
  for (const [key, { name, type, help, labels }] of Object.entries(CACHE_METRICS)) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    // Decode boundary: Object.entries widens the keys of the table.
    const sample = samples[key as CacheMetricKey]
    if (typeof sample === 'number') {
      lines.push(`${name} ${sample}`)
      continue
    }
    for (const [value, number] of sample) {
      lines.push(`${name}{${labels[0]}="${escaped(value)}"} ${number}`)
    }
  }
  return `${lines.join('\n')}\n`
}
