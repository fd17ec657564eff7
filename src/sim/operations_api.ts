/** Everything of a node that is not inference: models, health, metrics, sleep, caches, faults. */
import { ZodError } from 'zod'
import { ApiError } from './api_error.ts'
import type { BoundRanks } from './event_publisher.ts'
import { type Fault, faultSchema } from './faults.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'

/** GET /kv_event_sources and tagged extra keys came with 0.31. */
export function hasEventSources(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 0 || minor >= 31
}

export function listModels(core: NodeCore, call: HttpCall): void {
  const { config, modelTokensMax } = core
  const created = Math.floor(Date.now() / 1000)
  const root = config.tokenizer === 'toy' ? config.model : config.tokenizer
  const cards = [modelCard(config.model, root, null, modelTokensMax, created)]
  for (const adapter of config.adapters) {
    cards.push(modelCard(adapter, `/adapters/${adapter}`, config.model, null, created))
  }
  call.json(200, `{"object":"list","data":[${cards.join(',')}]}`)
}

function modelCard(
  id: string,
  root: string,
  parent: string | null,
  tokensMax: number | null,
  created: number,
): string {
  return JSON.stringify({
    id,
    object: 'model',
    created,
    owned_by: 'vllm',
    root,
    parent,
    max_model_len: tokensMax,
    permission: [
      {
        id: `modelperm-${hexId()}`,
        object: 'model_permission',
        created,
        allow_create_engine: false,
        allow_sampling: true,
        allow_logprobs: true,
        allow_search_indices: false,
        allow_view: true,
        allow_fine_tuning: false,
        organization: '*',
        group: null,
        is_blocking: false,
      },
    ],
  })
}

export function eventSources(core: NodeCore, bound: BoundRanks, call: HttpCall): void {
  const { config } = core
  const sources: Record<string, unknown> = {}
  for (const [rank, endpoint] of bound.live.entries()) {
    sources[rank] = {
      enable_kv_cache_events: true,
      publisher: 'zmq',
      endpoint,
      replay_endpoint: bound.replay[rank],
      buffer_steps: config.ringBatches,
      hwm: 100_000,
      max_queue_size: 100_000,
      topic: config.topic,
    }
  }
  call.json(200, JSON.stringify(sources))
}

export function metrics(core: NodeCore, call: HttpCall): void {
  const type = 'text/plain; version=1.0.0; charset=utf-8'
  call.text(200, type, core.metrics.render(core.engines, core.sleepLevel))
}

export function load(core: NodeCore, call: HttpCall): void {
  const active = core.engines.reduce((sum, rank) => sum + rank.runningCount + rank.waitingCount, 0)
  call.json(200, `{"server_load":${active}}`)
}

export function resetPrefixCache(core: NodeCore, call: HttpCall): void {
  const forced = call.request.url?.includes('reset_running_requests=true') === true
  let isDone = true
  for (const engine of core.engines) {
    if (forced) engine.preemptAll()
    if (!engine.cache.clear()) isDone = false
  }
  call.json(200, `{"success":${isDone}}`)
}

export function sleep(core: NodeCore, call: HttpCall): void {
  const level = /[?&]level=(\d)/.exec(call.request.url ?? '')?.[1] ?? '1'
  core.sleepLevel = Number(level) === 2 ? 2 : 1
  for (const engine of core.engines) {
    engine.preemptAll()
    engine.cache.clear()
    engine.hold()
  }
  call.empty(200)
}

export function wakeUp(core: NodeCore, call: HttpCall): void {
  core.wake()
  call.json(200, '{"status":"awake","tags":null}')
}

/** POST /sim/fault: the one path that no real node has. */
export async function addFault(
  call: HttpCall,
  fault: (fault: Fault) => Promise<void>,
): Promise<void> {
  try {
    const parsed = faultSchema.parse(JSON.parse(call.body.toString('utf8')))
    const ends = parsed.kind === 'refuse' || parsed.kind === 'restart'
    // These take the caller's own connection down: answer first.
    if (ends) call.json(200, '{"ok":true}')
    await fault(parsed)
    if (!ends) call.json(200, '{"ok":true}')
  } catch (error) {
    if (!(error instanceof ZodError) && !(error instanceof SyntaxError)) throw error
    call.error(new ApiError(400, 'BadRequestError', error.message))
  }
}
