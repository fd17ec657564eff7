/**
 * What a member says of itself: the answer to `warmpath cache status`, the models that gateways ask
 * for, and the metrics page. All of it is made when it is asked for.
 */
import type { Member } from './member.ts'
import { type CacheSample, renderCacheMetrics } from './metrics.ts'
import type { ModelCache } from './model_cache.ts'
import { HUGE_PAGE_BYTES, SLOT_STATES, type Slot } from './slot.ts'

export interface FileStatus {
  readonly path: string
  readonly size: number
  readonly state: string
  readonly resident_bytes: number
  /** Bytes by the tier that they came from; null while nothing is here. */
  readonly from: Readonly<Record<string, number>> | null
  /** Seconds since the last open or load; null: never. */
  readonly used_seconds_ago: number | null
  readonly pinned: boolean
  readonly generation: string
  readonly error: string | null
}

export interface CacheStatus {
  readonly source: string
  readonly source_id: string
  readonly mode: string
  readonly files: readonly FileStatus[]
}

function fileStatus(slot: Slot, nowMs: number): FileStatus {
  const from = slot.tierBytes ?? slot.hydration?.tierBytes ?? null
  return {
    path: slot.file.path,
    size: slot.file.size,
    state: slot.state,
    resident_bytes: slot.residentBytes,
    from: from === null ? null : { peer: from.peer, warmup: from.warmup, source: from.source },
    used_seconds_ago: slot.usedMs === 0 ? null : Math.round((nowMs - slot.usedMs) / 100) / 10,
    pinned: slot.isPinned,
    generation: slot.file.generation,
    error: slot.error,
  }
}

export function cacheStatus(cache: ModelCache, nowMs: number): CacheStatus {
  const files = [...cache.slots()].map(slot => fileStatus(slot, nowMs))
  files.sort((a, b) => (a.path < b.path ? -1 : 1))
  return {
    source: cache.source.localPath(''),
    source_id: cache.sourceId,
    mode: cache.front.mode,
    files,
  }
}

interface ModelState {
  files: number
  residentFiles: number
  bytes: number
  residentBytes: number
}

function modelStates(cache: ModelCache): Map<string, ModelState> {
  const models = new Map<string, ModelState>()
  for (const slot of cache.slots()) {
    const state = models.get(slot.model) ?? {
      files: 0,
      residentFiles: 0,
      bytes: 0,
      residentBytes: 0,
    }
    state.files += 1
    state.bytes += slot.file.size
    state.residentBytes += slot.residentBytes
    if (slot.state === 'resident') state.residentFiles += 1
    models.set(slot.model, state)
  }
  return models
}

/** The models of this host for a gateway: `GET /v1/resident`. */
export function residentModels(member: Member): object {
  return {
    id: member.id,
    models: member.caches.flatMap(cache =>
      [...modelStates(cache)].map(([model, state]) => ({
        source_id: cache.sourceId,
        model,
        is_resident: state.residentFiles === state.files,
        files: state.files,
        resident_files: state.residentFiles,
        bytes: state.bytes,
        resident_bytes: state.residentBytes,
      })),
    ),
  }
}

function filesByState(member: Member): Map<string, number> {
  const counts = new Map<string, number>(SLOT_STATES.map(state => [state, 0]))
  for (const cache of member.caches) {
    for (const { state } of cache.slots()) counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  return counts
}

function peersByState(member: Member): Map<string, number> {
  const counts = new Map<string, number>(['live', 'down', 'banned'].map(state => [state, 0]))
  for (const { state } of member.peers.all()) counts.set(state, (counts.get(state) ?? 0) + 1)
  return counts
}

function residentBytes(member: Member): number {
  let bytes = 0
  for (const cache of member.caches) {
    for (const slot of cache.slots()) if (slot.state === 'resident') bytes += slot.file.size
  }
  return bytes
}

/** Share of what could lie in huge pages that does; null when nothing could, or nobody can tell. */
function hugePageRatio(member: Member): number | null {
  let bytes = 0
  let hugeBytes = 0
  for (const cache of member.caches) {
    for (const slot of cache.slots()) {
      if (slot.state !== 'resident' || slot.hugeBytes === null) continue
      bytes += Math.floor(slot.file.size / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
      hugeBytes += slot.hugeBytes
    }
  }
  return bytes === 0 ? null : hugeBytes / bytes
}

export function memberMetrics(member: Member): string {
  const { metrics, residents, options } = member
  for (const cache of member.caches) cache.front.refresh(cache.slots())
  const hydrated = metrics.hydratedBytes
  const fromSource = (metrics.tierBytes.get('source') ?? 0) - metrics.passedBytes
  const modes: CacheSample = new Map(member.caches.map(cache => [cache.front.mode, 1]))
  return renderCacheMetrics({
    bytes: metrics.tierBytes,
    sent: member.sentBytes,
    opens: metrics.opens,
    fallbacks: metrics.fallbacks,
    hydrate: metrics.hydrateBytesPerSecond,
    files: filesByState(member),
    residentBytes: residentBytes(member),
    used: residents.usedBytes,
    capacity: new Map([
      ['configured', options.configuredBytes],
      ['effective', residents.capacityBytes],
    ]),
    hitRatio: metrics.hitRatio,
    evictions: metrics.evictions,
    mismatches: metrics.mismatches,
    generations: metrics.generations,
    peers: peersByState(member),
    amplification: hydrated === 0 ? 0 : (fromSource + metrics.checkedBytes) / hydrated,
    modelReady: metrics.modelReadySeconds,
    ready: member.isReady ? 1 : 0,
    mode: modes,
    hugePages: hugePageRatio(member) ?? new Map(),
    notesLost: metrics.notesLost,
    restarts: options.restarts,
  })
}
