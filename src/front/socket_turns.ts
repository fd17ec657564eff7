/**
 * What the lanes of a WebSocket run: the same plans as a POST's, read by a lane in place of an HTTP
 * client.
 *
 *     create ──► planRequest ──► identical one in flight? its log : an exchange of its own
 *
 * A create is planned when its turn comes, because a turn before it in the same lane may be the
 * response that it continues.
 */
import type { TemplatedApp } from 'uWebSockets.js'
import type { Access } from '../access/keys.ts'
import { endpointOf, ROUTES } from '../api/endpoints.ts'
import type { Plan, Planner } from '../api/plan.ts'
import { planRequest } from '../api/plan.ts'
import { OperatingError } from '../errors.ts'
import { Exchange } from '../exchange/exchange.ts'
import type { EndpointFacts } from '../exchange/request.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { WEBSOCKET_CLOSE } from '../observe/metrics/labels.ts'
import { G, M } from '../observe/metrics/layout.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import type { SocketRequest, WebSocketSettings } from './websocket_front.ts'
import { WebSocketFront } from './websocket_front.ts'
import type { Lane, Turn } from './websocket_lane.ts'

export interface SocketTurnsOptions {
  readonly thread: ExchangeThread
  readonly settings: WebSocketSettings
  readonly access: () => Access
  readonly metrics: ThreadMetrics
  readonly planner: () => Planner
  readonly newId: () => string
}

/** The WebSocket endpoints of a gateway thread's app. */
export function openWebSockets(app: TemplatedApp, options: SocketTurnsOptions): WebSocketFront {
  const { thread, metrics } = options
  const turns = new SocketTurns(options)
  return new WebSocketFront(app, {
    settings: options.settings,
    access: options.access,
    now: () => thread.now(),
    turnOf: request => turns.turnOf(request),
    refused: (path, error) => {
      thread.recorder.answered(endpointOf(path), error.status)
      thread.recorder.erred(error.code)
    },
    erred: code => thread.recorder.erred(code),
    onOpen: open => {
      metrics.add(M.websocketsOpened, 1)
      metrics.set(G.websockets, open)
    },
    onClose: (open, as) => {
      metrics.addFor(M.websocketCloses, WEBSOCKET_CLOSE[as], 1)
      metrics.set(G.websockets, open)
    },
  })
}

function endpointAt(path: string): EndpointFacts {
  const route = ROUTES.get(path)
  if (route?.kind !== 'relay') throw new TypeError(`${path} is not relayed`)
  return route.endpoint
}

class SocketTurns {
  readonly #options: SocketTurnsOptions

  constructor(options: SocketTurnsOptions) {
    this.#options = options
  }

  turnOf(request: SocketRequest): Turn {
    return {
      kind: 'run',
      bytes: request.frame.bytes.length,
      start: lane => this.#create(request, lane),
    }
  }

  #create({ path, tenant, facts, frame }: SocketRequest, lane: Lane): OperatingError | null {
    const { thread, planner, newId } = this.#options
    const plan = planRequest(
      {
        id: newId(),
        endpoint: endpointAt(path),
        tenant,
        method: 'POST',
        target: facts.target,
        headers: facts.headers,
        authorization: facts.authorization,
        clientId: facts.requestId,
        contentType: 'application/json',
        bytes: frame.bytes,
      },
      { isResumable: frame.isResumable, collapse: facts.collapse },
      planner(),
    )
    if (plan instanceof OperatingError) return plan
    if (plan.shareKey !== null && this.#share(plan, plan.shareKey, lane)) return null
    lane.ask(new Exchange(thread, plan.request, lane, plan.keeping))
    return null
  }

  /** Reads the answer to an identical request that is in flight on any thread, if there is one. */
  #share({ request }: Plan, key: string, lane: Lane): boolean {
    const { logs, recorder } = this.#options.thread
    const name = logs.find(request.tenant.id, key)
    // It may end, or be too long to be read from its start, in this very moment.
    if (name === null || lane.join(logs, name, request.tenant.id, 0, 0) !== null) return false
    recorder.collapsed(request.endpoint.name)
    return true
  }
}
