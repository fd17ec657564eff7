/**
 * What the lanes of a WebSocket run: the same plans as a POST's, read by a lane in place of an HTTP
 * client.
 *
 *     create ──► planRequest ──► identical one in flight? its log : an exchange of its own
 *     resume ──► directory ──► the log of any thread, from the event after the last one seen
 *     cancel ──► directory ──► the work ends; whoever reads the log hears of it
 *
 * A create is planned when its turn comes, because a turn before it in the same lane may be the
 * response that it continues.
 */
import type { TemplatedApp } from 'uWebSockets.js'
import type { Access } from '../access/keys.ts'
import { endpointOf, ROUTES } from '../api/endpoints.ts'
import { openKept } from '../api/open_kept.ts'
import type { Plan, Planner } from '../api/plan.ts'
import { planRequest } from '../api/plan.ts'
import { resumeAfter } from '../api/resume.ts'
import { absent, RESPONSE_PREFIX } from '../api/stored_response.ts'
import type { CreateFrame, ResumeFrame } from '../api/ws_frames.ts'
import { OperatingError } from '../errors.ts'
import { Exchange } from '../exchange/exchange.ts'
import { FROM_START, followLate, joinedBy } from '../exchange/late_reader.ts'
import type { EndpointFacts } from '../exchange/request.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { WEBSOCKET_CLOSE } from '../observe/metrics/labels.ts'
import { G, M } from '../observe/metrics/layout.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import type { LogName } from '../responses/log_owner.ts'
import { SocketMemory } from './socket_memory.ts'
import { answerWarmUp, WarmUp } from './warm_up.ts'
import type { Connection } from './websocket_connection.ts'
import type { WebSocketSettings } from './websocket_front.ts'
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
    newId: options.newId,
    turnOf: (path, connection, frame) => turns.turnOf(path, connection, frame),
    cancel: (connection, responseId) => turns.cancel(connection, responseId),
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

  turnOf(path: string, connection: Connection, frame: CreateFrame | ResumeFrame): Turn {
    if (frame.kind === 'resume') {
      const tellsDone = !frame.responseId.startsWith(RESPONSE_PREFIX)
      return {
        kind: 'run',
        bytes: 0,
        tellsDone,
        start: lane => this.#resume(connection, frame, lane),
      }
    }
    let responseId: string | null = null
    return {
      kind: 'run',
      bytes: frame.bytes.length,
      tellsDone: endpointAt(path).name === 'chat',
      start: lane => {
        const plan = this.#plan(path, connection, frame)
        if (plan instanceof OperatingError) return plan
        responseId = plan.responseId
        this.#run(plan, frame, lane)
        return null
      },
      over: isFailed =>
        connection.memory?.settle(frame.lane, responseId, frame.previousId, isFailed),
    }
  }

  cancel(connection: Connection, responseId: string): OperatingError | null {
    const { logs, recorder } = this.#options.thread
    const tenant = connection.tenant.id
    // Digests of requests are found in the same place; an id has a prefix.
    const isId = responseId.includes('_')
    const keys = isId ? [responseId, connection.memory?.keyOf(responseId) ?? responseId] : []
    for (const key of keys) {
      const name = logs.find(tenant, key)
      const state = name === null ? 'unknown' : logs.stop(name, tenant)
      if (state === 'stopping') recorder.cancelled()
      if (state !== 'unknown') return null
    }
    return absent(logs, tenant, responseId)
  }

  #plan(path: string, connection: Connection, frame: CreateFrame): Plan | OperatingError {
    const { planner, newId } = this.#options
    const { facts, tenant } = connection
    const endpoint = endpointAt(path)
    const incoming = {
      id: newId(),
      endpoint,
      tenant,
      method: 'POST' as const,
      target: facts.target,
      headers: facts.headers,
      authorization: facts.authorization,
      clientId: facts.requestId,
      contentType: 'application/json',
      bytes: frame.bytes,
    }
    const { isResumable } = frame
    const wishes = { isResumable, collapse: facts.collapse }
    if (endpoint.name !== 'responses') return planRequest(incoming, wishes, planner())
    return planRequest(incoming, { ...wishes, memory: this.#memoryOf(connection) }, planner())
  }

  #memoryOf(connection: Connection): SocketMemory {
    const { thread, settings, planner } = this.#options
    connection.memory ??= new SocketMemory(
      thread.logs,
      connection.tenant.id,
      planner().newId(),
      settings.lifetimeMs + thread.logLimits.graceMs,
    )
    return connection.memory
  }

  #run(plan: Plan, frame: CreateFrame, lane: Lane): void {
    const { thread } = this.#options
    const { request, keeping, responseId } = plan
    if (frame.isWarmUp && keeping !== null && responseId !== null) {
      const reader = new WarmUp(lane, reply =>
        answerWarmUp(thread, request.tenant.id, keeping, responseId, reply, lane),
      )
      return lane.ask(new Exchange(thread, request, reader))
    }
    const kept = openKept(thread, plan, name => this.#share(plan, name, lane))
    if (kept === 'joined') return
    if (kept instanceof OperatingError) return lane.refuse(kept)
    if (kept !== null && plan.isNumbered && responseId !== null) {
      const { name } = lane.shape
      const named = name === null ? {} : { stream_id: name }
      lane.say(JSON.stringify({ type: 'warmpath:created', ...named, response_id: responseId }))
    }
    lane.ask(new Exchange(thread, request, lane, kept))
  }

  #resume(connection: Connection, frame: ResumeFrame, lane: Lane): OperatingError | null {
    const { thread, newId } = this.#options
    const { tenant, facts } = connection
    const { responseId } = frame
    const last = frame.startingAfter
    const from = last + 1
    return resumeAfter(thread.logs, tenant.id, responseId, last, (name, start) => {
      const follow = followLate(thread, name, start, {
        id: newId(),
        clientId: facts.requestId,
        tenant,
        endpoint: responseId.startsWith(RESPONSE_PREFIX) ? 'responses' : 'chat',
        transport: 'websocket',
        kind: 'resumed',
        responseId,
        from,
      })
      return lane.join(follow, from)
    })
  }

  /** Reads the answer to an identical request that is in flight on any thread, if there is one. */
  #share({ request }: Plan, name: LogName, lane: Lane): boolean {
    const follow = followLate(
      this.#options.thread,
      name,
      FROM_START,
      joinedBy(request, 'websocket'),
    )
    // It may end, or be too long to be read from its start, in this very moment.
    return lane.join(follow, 0) === null
  }
}
