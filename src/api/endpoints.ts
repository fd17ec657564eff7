/**
 * The data port's routes: an allow-list.
 *
 * A path is relayed only when it stands here, compared byte for byte, so that a node's control
 * paths (`/sleep`, `/collective_rpc`, adapter loading, …) are unknown however they are spelled:
 * with a trailing slash, percent escapes, dots or capitals.
 */
import type { EndpointFacts } from '../exchange/request.ts'
import type { Endpoint } from '../observe/metrics/labels.ts'

/** What the front does with a route. */
export type Route =
  | { readonly kind: 'relay'; readonly method: 'POST' | 'GET'; readonly endpoint: EndpointFacts }
  | { readonly kind: 'own'; readonly own: OwnRoute }

export type OwnRoute = 'health' | 'ready' | 'ping' | 'version' | 'models' | 'metrics'

function relay(
  name: Endpoint,
  facts: Partial<EndpointFacts> = {},
  method: 'POST' | 'GET' = 'POST',
): Route {
  const endpoint: EndpointFacts = {
    name,
    promptKind: null,
    completion: 'body',
    dialect: 'openai',
    isMultipart: false,
    ...facts,
  }
  return { kind: 'relay', method, endpoint }
}

function own(name: OwnRoute): Route {
  return { kind: 'own', own: name }
}

const PASS = relay('pooling')
const AUDIO = relay('audio', { isMultipart: true })

export const ROUTES: ReadonlyMap<string, Route> = new Map([
  ['/v1/chat/completions', relay('chat', { promptKind: 'chat', completion: 'done' })],
  ['/v1/completions', relay('completions', { promptKind: 'completion', completion: 'done' })],
  ['/v1/embeddings', relay('embeddings', { promptKind: 'embedding' })],
  ['/v1/responses', relay('responses', { promptKind: 'responses', completion: 'terminal' })],
  [
    '/v1/messages',
    relay('messages', { promptKind: 'messages', completion: 'terminal', dialect: 'anthropic' }),
  ],
  ['/v1/messages/count_tokens', relay('tokens', { dialect: 'anthropic' })],
  ['/v2/embed', relay('embeddings')],
  ['/pooling', PASS],
  ['/classify', PASS],
  ['/score', relay('pooling')],
  ['/v1/score', relay('pooling')],
  ['/rerank', relay('pooling')],
  ['/v1/rerank', relay('pooling')],
  ['/v2/rerank', relay('pooling')],
  ['/v1/audio/transcriptions', AUDIO],
  ['/v1/audio/translations', AUDIO],
  ['/tokenize', relay('tokens')],
  ['/detokenize', relay('tokens')],
  ['/tokenizer_info', relay('tokens', {}, 'GET')],
  ['/v1/chat/completions/render', relay('tokens')],
  ['/v1/completions/render', relay('tokens')],
  ['/v1/models', own('models')],
  ['/health', own('health')],
  ['/ready', own('ready')],
  ['/ping', own('ping')],
  ['/version', own('version')],
  ['/metrics', own('metrics')],
])

/** Prefix of the routes of one model, `/v1/models/{id}`; an id may contain slashes. */
export const MODEL_PATH = '/v1/models/'

/** What is done with an answer that outlives its asker; front/kept_routes.ts does it. */
export type KeptAct = 'retrieve' | 'delete' | 'cancel' | 'items' | 'resume'

/** Method, path and act of the routes of kept answers. */
export const KEPT_ROUTES = [
  ['GET', '/v1/responses/{id}', 'retrieve'],
  ['DELETE', '/v1/responses/{id}', 'delete'],
  ['POST', '/v1/responses/{id}/cancel', 'cancel'],
  ['GET', '/v1/responses/{id}/input_items', 'items'],
  ['GET', '/v1/chat/completions/{id}', 'resume'],
] as const satisfies readonly (readonly [string, string, KeptAct])[]

/** Such a path: who is asked for, and what each method does. */
export interface KeptPath {
  readonly endpoint: 'responses' | 'chat'
  readonly id: string
  readonly acts: ReadonlyMap<string, KeptAct>
}

const KEPT_PATH = /^(\/v1\/(?:responses|chat\/completions)\/)([^/]+)(\/[a-z_]+)?$/

/** null: the path is none of them. */
export function keptPath(path: string): KeptPath | null {
  const [, before = '', id = '', behind = ''] = KEPT_PATH.exec(path) ?? []
  const template = `${before}{id}${behind}`
  const acts = new Map<string, KeptAct>()
  for (const [method, known, act] of KEPT_ROUTES) if (known === template) acts.set(method, act)
  if (acts.size === 0) return null
  return { endpoint: before === '/v1/responses/' ? 'responses' : 'chat', id, acts }
}

/** The error dialect of a path that may be unknown: Anthropic's SDK calls /v1/messages*. */
export function dialectOf(path: string): 'openai' | 'anthropic' {
  return path.startsWith('/v1/messages') ? 'anthropic' : 'openai'
}

/** The family of a path, for metrics. */
export function endpointOf(path: string): Endpoint {
  const route = ROUTES.get(path)
  if (route?.kind === 'relay') return route.endpoint.name
  if (path === '/v1/models' || path.startsWith(MODEL_PATH)) return 'models'
  return route === undefined ? (keptPath(path)?.endpoint ?? 'unknown') : 'operations'
}
