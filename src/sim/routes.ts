/** Every path of a simulated node and the endpoint behind it. */
import { chatCompletions } from './chat_api.ts'
import { completions } from './completion_api.ts'
import type { BoundRanks } from './event_publisher.ts'
import type { Fault } from './faults.ts'
import type { HttpCall } from './http_call.ts'
import type { Route } from './http_server.ts'
import { countTokens, messages } from './message_api.ts'
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
import { classify, embeddings, pooling, rerank, score, transcribe } from './pooling_api.ts'
import { getResponse, responses } from './response_api.ts'
import { detokenize, renderChat, tokenize } from './token_api.ts'

export interface NodeHandles {
  readonly bound: BoundRanks
  readonly fault: (fault: Fault) => Promise<void>
}

type Handler = (core: NodeCore, call: HttpCall) => void | Promise<void>

const ok: Handler = (_, call) => call.empty(200)

const GENERATE: Readonly<Record<string, Handler>> = {
  '/v1/chat/completions': chatCompletions,
  '/v1/completions': completions,
  '/v1/responses': responses,
  '/v1/messages': messages,
  '/v1/messages/count_tokens': countTokens,
  '/v1/chat/completions/render': renderChat,
  '/v1/audio/transcriptions': transcribe,
  '/v1/audio/translations': transcribe,
}

const EMBED: Readonly<Record<string, Handler>> = {
  '/v1/embeddings': embeddings,
  '/pooling': pooling,
  '/score': score,
  '/v1/score': score,
  '/rerank': rerank,
  '/v1/rerank': rerank,
  '/v2/rerank': rerank,
}

/** What every node has and only POST reaches. */
const CONTROL: Readonly<Record<string, Handler>> = {
  '/tokenize': tokenize,
  '/detokenize': detokenize,
  '/reset_prefix_cache': resetPrefixCache,
  '/sleep': sleep,
  '/wake_up': wakeUp,
}

const READ: Readonly<Record<string, Handler>> = {
  '/v1/models': listModels,
  '/health': ok,
  '/version': (core, call) => call.json(200, JSON.stringify({ version: core.version })),
  '/load': load,
  '/metrics': metrics,
  '/is_sleeping': (core, call) => call.json(200, `{"is_sleeping":${core.sleepLevel > 0}}`),
}

export function nodeRoutes(core: NodeCore, handles: NodeHandles): Map<string, readonly Route[]> {
  const { tasks } = core.config
  const get = (handle: Handler): Route => ({ method: 'GET', handle: call => handle(core, call) })
  const post = (handle: Handler): Route => ({ method: 'POST', handle: call => handle(core, call) })
  const posts = {
    ...CONTROL,
    ...(tasks === 'embed' ? {} : GENERATE),
    ...(tasks === 'generate' ? {} : EMBED),
    ...(tasks === 'all' ? { '/classify': classify } : {}),
  }
  const routes = new Map<string, readonly Route[]>()
  for (const [path, handle] of Object.entries(READ)) routes.set(path, [get(handle)])
  for (const [path, handle] of Object.entries(posts)) routes.set(path, [post(handle)])
  routes.set('/ping', [get(ok), post(ok)])
  routes.set('/sim/fault', [post((_, call) => addFault(call, handles.fault))])
  if (core.config.kvEvents && hasEventSources(core.version)) {
    routes.set('/kv_event_sources', [get((_, call) => eventSources(core, handles.bound, call))])
  }
  return routes
}

/** Paths with an id in them. */
export function findRoute(core: NodeCore, path: string): readonly Route[] {
  if (core.config.tasks === 'embed') return []
  const match = /^\/v1\/responses\/([^/]+)(\/cancel)?$/.exec(path)
  if (match === null) return []
  const id = decodeURIComponent(match[1] ?? '')
  const method = match[2] === undefined ? 'GET' : 'POST'
  return [{ method, handle: call => getResponse(core, call, id) }]
}
