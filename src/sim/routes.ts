/** Every path of a simulated node and the endpoint behind it. */
import { chatCompletions } from './chat_api.ts'
import type { BoundRanks } from './event_publisher.ts'
import type { Fault } from './faults.ts'
import type { HttpCall } from './http_call.ts'
import type { Route } from './http_server.ts'
import type { NodeCore } from './node_core.ts'
import {
  addFault,
  eventSources,
  hasEventSources,
  listModels,
  load,
  metrics,
  resetPrefixCache,
  sleep,
  wakeUp,
} from './operations_api.ts'

export interface NodeHandles {
  readonly bound: BoundRanks
  readonly fault: (fault: Fault) => Promise<void>
}

type Handler = (core: NodeCore, call: HttpCall) => void | Promise<void>

const ok: Handler = (_, call) => call.empty(200)

export function nodeRoutes(core: NodeCore, handles: NodeHandles): Map<string, readonly Route[]> {
  const get = (handle: Handler): Route[] => [{ method: 'GET', handle: call => handle(core, call) }]
  const post = (handle: Handler): Route[] => [
    { method: 'POST', handle: call => handle(core, call) },
  ]
  const routes = new Map<string, readonly Route[]>([
    ['/v1/chat/completions', post(chatCompletions)],
    ['/v1/models', get(listModels)],
    ['/health', get(ok)],
    ['/ping', [...get(ok), ...post(ok)]],
    ['/version', get((_, call) => call.json(200, JSON.stringify({ version: core.version })))],
    ['/load', get(load)],
    ['/metrics', get(metrics)],
    ['/reset_prefix_cache', post(resetPrefixCache)],
    ['/sleep', post(sleep)],
    ['/wake_up', post(wakeUp)],
    ['/is_sleeping', get((_, call) => call.json(200, `{"is_sleeping":${core.sleepLevel > 0}}`))],
    ['/sim/fault', post((_, call) => addFault(call, handles.fault))],
  ])
  if (core.config.kvEvents && hasEventSources(core.version)) {
    routes.set(
      '/kv_event_sources',
      get((_, call) => eventSources(core, handles.bound, call)),
    )
  }
  return routes
}

/** Paths with an id in them. */
export function findRoute(_core: NodeCore, _path: string): readonly Route[] {
  return []
}
