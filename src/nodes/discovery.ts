/**
 * What a node says about itself, asked by URL alone:
 *
 *     GET /v1/models          served models and adapters
 *     GET /version            decides whether hashes of nodes can agree
 *     GET /metrics            block size, blocks, hash algorithm, ranks, process start, sleep
 *     GET /kv_event_sources   KV-event sockets of each rank (vLLM 0.31+; 404 before)
 *     GET /is_sleeping        only where /metrics says nothing of sleep (developer mode)
 *
 * All are asked side by side and each may fail alone: a node without /metrics still serves, with
 * one rank, no block size and so without an index. Only /v1/models is needed, because without it
 * nothing can be routed there; a 404 on it is an empty list.
 *
 * Endpoints of the configuration win over discovered ones. A wildcard host in a discovered
 * endpoint (`tcp://*:5557`) means "all my addresses" and is replaced by the host of the URL; in a
 * configured one it means that the gateway binds there and the engine connects.
 */
import { z } from 'zod'
import type { NodeEntry } from './config.ts'
import type { ServedModel } from './fleet_view.ts'
import type { Probe, ProbeOptions, ProbeReply } from './probe.ts'
import { type NodeMetrics, RANKS_MAX, readMetrics } from './scrape.ts'

/** Served models and adapters of one node that are believed. */
export const MODELS_MAX = 4096

/** An endpoint on every address of a host; its port is captured. */
const WILDCARD = /^tcp:\/\/(?:\*|0\.0\.0\.0|\[::\]|::):([0-9]+)$/

export interface EventSource {
  readonly rank: number
  readonly endpoint: string
  readonly replayEndpoint: string | null
  /** The engine connects to us. */
  readonly binds: boolean
}

export interface NodeFacts {
  readonly models: readonly ServedModel[]
  /** vLLM's version, empty when the node does not say. */
  readonly version: string
  readonly metrics: NodeMetrics | null
  readonly isAsleep: boolean
  /** null = no events are published, or nobody knows where. */
  readonly sources: readonly EventSource[] | null
  /** Sleep shows only on /is_sleeping, so every scrape asks there too. */
  readonly isSleepAsked: boolean
  /** Some question went unanswered and should be asked again. */
  readonly isPartial: boolean
}

export type Discovery =
  | { readonly kind: 'found'; readonly facts: NodeFacts }
  | { readonly kind: 'failed'; readonly reason: string }

const modelSchema = z.looseObject({
  id: z.string().min(1),
  parent: z.string().nullish(),
})
// Items stay unknown here, for zod would reorder their keys and clients get them as they came.
const modelListSchema = z.looseObject({ data: z.array(z.unknown()).max(MODELS_MAX) })
const versionSchema = z.looseObject({ version: z.string() })
const sleepSchema = z.looseObject({ is_sleeping: z.boolean() })
const sourcesSchema = z.record(
  z.string().regex(/^[0-9]{1,4}$/),
  z.looseObject({
    enable_kv_cache_events: z.boolean().optional(),
    publisher: z.string().nullish(),
    endpoint: z.string().nullish(),
    replay_endpoint: z.string().nullish(),
  }),
)

/** Decodes a 200 answer; null for every other answer and for a body of another shape. */
function decode<T>(reply: ProbeReply, schema: z.ZodType<T>): T | null {
  if (reply.kind !== 'answer' || reply.status !== 200) return null
  try {
    const parsed = schema.safeParse(JSON.parse(reply.body))
    return parsed.success ? parsed.data : null
  } catch {
    return null
  }
}

function describe(path: string, reply: ProbeReply): string {
  return `${path}: ${reply.kind === 'answer' ? `status ${reply.status}` : reply.kind}`
}

/** The served models of a reply to /v1/models, or why there are none. */
export function readModels(reply: ProbeReply): readonly ServedModel[] | string {
  if (reply.kind === 'answer' && reply.status === 404) return []
  const list = decode(reply, modelListSchema)
  if (list === null) return describe('/v1/models', reply)
  const models: ServedModel[] = []
  for (const body of list.data) {
    const item = modelSchema.safeParse(body)
    if (item.success) models.push({ id: item.data.id, parent: item.data.parent ?? null, body })
  }
  return models
}

/** Replaces a host that means "every address of mine" by the host under which we know the node. */
export function reachableEndpoint(endpoint: string, host: string): string {
  const match = WILDCARD.exec(endpoint)
  return match === null ? endpoint : `tcp://${host}:${match[1]}`
}

/** vLLM's rule for data-parallel ranks: the port after the last colon rises by the rank. */
export function endpointOfRank(endpoint: string, rank: number): string {
  const match = /^(tcp:\/\/.+):([0-9]+)$/.exec(endpoint)
  return match === null || rank === 0 ? endpoint : `${match[1]}:${Number(match[2]) + rank}`
}

/** Event sources that the node names; null when it names none. */
export function readSources(reply: ProbeReply, host: string): readonly EventSource[] | null {
  const byRank = decode(reply, sourcesSchema)
  if (byRank === null) return null
  const sources: EventSource[] = []
  for (const [key, source] of Object.entries(byRank)) {
    const rank = Number(key)
    const endpoint = source.endpoint ?? ''
    const isPublished = source.enable_kv_cache_events !== false && source.publisher !== 'null'
    if (!isPublished || rank >= RANKS_MAX || !/^(tcp|ipc):\/\//.test(endpoint)) continue
    const replay = source.replay_endpoint ?? ''
    sources.push({
      rank,
      endpoint: reachableEndpoint(endpoint, host),
      replayEndpoint: replay === '' ? null : reachableEndpoint(replay, host),
      binds: false,
    })
  }
  return sources.length === 0 ? null : sources.sort((a, b) => a.rank - b.rank)
}

function configuredSources(entry: NodeEntry, ranks: readonly number[]): EventSource[] | null {
  const { kv_events: events, kv_replay: replay } = entry
  if (events === undefined || events === 'none') return null
  const hasReplay = replay !== undefined && replay !== 'none'
  return ranks.map(rank => ({
    rank,
    endpoint: endpointOfRank(events, rank),
    replayEndpoint: hasReplay ? endpointOfRank(replay, rank) : null,
    binds: WILDCARD.test(events),
  }))
}

/** Metrics of an answer, or null when there was none. */
export function metricsOf(reply: ProbeReply): NodeMetrics | null {
  return reply.kind === 'answer' && reply.status === 200 ? readMetrics(reply.body) : null
}

/** Whether the node sleeps by its own route; null where it has none (no developer mode). */
export async function askIsSleeping(
  probe: Probe,
  url: string,
  options: ProbeOptions,
): Promise<boolean | null> {
  const reply = await probe.get(`${url}/is_sleeping`, options)
  return decode(reply, sleepSchema)?.is_sleeping ?? null
}

/** An answer that says neither what was asked nor that it will never be said. */
function isUnanswered(reply: ProbeReply): boolean {
  return reply.kind !== 'answer' || reply.status >= 500
}

/** Asks a node everything. `url` is its origin. */
export async function discover(
  probe: Probe,
  url: string,
  entry: NodeEntry,
  timeoutMs: number,
): Promise<Discovery> {
  const options: ProbeOptions = { apiKey: entry.api_key ?? null, timeoutMs }
  const [modelsReply, versionReply, metricsReply, sourcesReply] = await Promise.all([
    probe.get(`${url}/v1/models`, options),
    probe.get(`${url}/version`, options),
    probe.get(`${url}/metrics`, options),
    probe.get(`${url}/kv_event_sources`, options),
  ])
  const replies = [modelsReply, versionReply, metricsReply, sourcesReply]
  const isGone = replies.some(({ kind }) => kind === 'refused' || kind === 'reset')
  if (isGone) return { kind: 'failed', reason: 'it went away while it was asked' }
  const models = readModels(modelsReply)
  if (typeof models === 'string') return { kind: 'failed', reason: models }

  const metrics = metricsOf(metricsReply)
  const ranks = metrics === null ? [0] : metrics.ranks.map(rank => rank.rank)
  const host = new URL(url).hostname
  const named = entry.kv_events === undefined ? readSources(sourcesReply, host) : null
  const isAsleepByMetrics = metrics?.isAsleep ?? null
  const isAsleepByRoute =
    isAsleepByMetrics === null ? await askIsSleeping(probe, url, options) : null
  return {
    kind: 'found',
    facts: {
      models,
      version: decode(versionReply, versionSchema)?.version ?? '',
      metrics,
      isAsleep: isAsleepByMetrics ?? isAsleepByRoute ?? false,
      sources: named ?? configuredSources(entry, ranks.length === 0 ? [0] : ranks),
      isSleepAsked: isAsleepByRoute !== null,
      isPartial: replies.some(isUnanswered),
    },
  }
}
