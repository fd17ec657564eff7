/**
 * The routes of answers that outlive their askers: whoever has an id comes back, on any thread.
 *
 *     GET    /v1/responses/{id}                  the response object as it stands
 *     GET    /v1/responses/{id}?stream=true      its events, from `starting_after` on, then live
 *     DELETE /v1/responses/{id}
 *     POST   /v1/responses/{id}/cancel           answered once the work has ended
 *     GET    /v1/responses/{id}/input_items
 *     GET    /v1/chat/completions/{id}           a resumable stream, from `Last-Event-ID` on
 *
 * An id that was never given and one of another tenant are answered alike. A reader costs what a
 * reader of the log costs; nothing here asks a node.
 */
import type { Tenant } from '../access/keys.ts'
import { type KeptAct, keptPath, ROUTES } from '../api/endpoints.ts'
import { listInputItems } from '../api/input_items.ts'
import { RESPONSE_ID_HEADER } from '../api/plan.ts'
import { eventsUpTo, refusedAs, startAfter, streamFault, takeChat } from '../api/resume.ts'
import { absent, StoredResponse } from '../api/stored_response.ts'
import { OperatingError } from '../errors.ts'
import { followLate } from '../exchange/late_reader.ts'
import type { EndpointFacts } from '../exchange/request.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import type { LogSnapshot } from '../responses/log_snapshot.ts'
import { collectBody } from './body.ts'
import type { ClientStream, StreamFacts } from './client_stream.ts'
import { EventNumbers } from './event_numbers.ts'
import type { Connection } from './reply.ts'
import { jsonAnswer, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'

const WHOLE_NUMBER = /^\d{1,9}$/

/** A client's connection, and what its leaving must end. */
export interface Visitor extends Connection {
  holder: { leave(): void } | null
  /** The gateway's own name of the request. */
  readonly id: string
  readonly requestId: string
}

/** What the routes use of the data port. */
export interface KeptHost {
  readonly thread: ExchangeThread
  identify(head: RequestHead): Tenant | OperatingError
  refuse(visit: Visitor, head: RequestHead, error: OperatingError, isClosing: boolean): void
  refuseMethod(visit: Visitor, head: RequestHead, allowed: string): void
  stream(visit: Visitor, facts: Omit<StreamFacts, 'nodeId' | 'times'>, tenant: Tenant): ClientStream
}

/** One request to one of the routes. */
interface Call {
  readonly visit: Visitor
  readonly head: RequestHead
  readonly tenant: Tenant
  readonly id: string
}

function endpointAt(path: string): EndpointFacts {
  const route = ROUTES.get(path)
  if (route?.kind !== 'relay') throw new TypeError(`${path} is not relayed`)
  return route.endpoint
}

const RESPONSES = endpointAt('/v1/responses')
const CHAT = endpointAt('/v1/chat/completions')

export class KeptRoutes {
  readonly #host: KeptHost

  constructor(host: KeptHost) {
    this.#host = host
  }

  /** False: the path is none of these. */
  answer(visit: Visitor, head: RequestHead): boolean {
    const path = keptPath(head.path)
    if (path === null) return false
    const act = path.acts.get(head.method)
    if (act === undefined) {
      this.#host.refuseMethod(visit, head, [...path.acts.keys()].join(', '))
      return true
    }
    const tenant = this.#host.identify(head)
    if (tenant instanceof OperatingError) {
      this.#host.refuse(visit, head, tenant, head.contentLength > 0)
      return true
    }
    this.#act(act, { visit, head, tenant, id: path.id })
    return true
  }

  #act(act: KeptAct, call: Call): void {
    switch (act) {
      case 'retrieve':
        return this.#retrieve(call)
      case 'delete':
        return this.#afterBody(call, () => this.#delete(call))
      case 'cancel':
        return this.#afterBody(call, () => this.#cancel(call))
      case 'items':
        return this.#items(call)
      case 'resume':
        return this.#resumeChat(call)
    }
  }

  /** SDKs send an empty object here; whatever it is, it is read and not looked at. */
  #afterBody({ visit, head }: Call, act: () => void): void {
    if (head.contentLength > this.#host.thread.logLimits.keptBytesMax) {
      const error = new OperatingError('request_too_large', 'no body is needed here')
      return this.#host.refuse(visit, head, error, true)
    }
    collectBody(visit.res, Math.max(0, head.contentLength), () => {
      if (!visit.isGone) act()
    })
  }

  #retrieve(call: Call): void {
    const query = new URLSearchParams(call.head.query)
    if (query.get('stream') === 'true') return this.#stream(call, query)
    this.#show(call, stored => stored.json())
  }

  #items(call: Call): void {
    const query = new URLSearchParams(call.head.query)
    this.#show(call, stored => listInputItems(stored, query))
  }

  #delete(call: Call): void {
    this.#show(call, stored => stored.delete(this.#host.thread.logs))
  }

  #show(call: Call, look: (stored: StoredResponse) => string | OperatingError): void {
    const { logs, recorder } = this.#host.thread
    const shown = StoredResponse.with(logs, call.tenant.id, call.id, look)
    if (shown instanceof OperatingError) {
      return this.#host.refuse(call.visit, call.head, shown, false)
    }
    recorder.answered('responses', 200)
    reply(call.visit, jsonAnswer(200, shown))
  }

  /** Asks for the end and, once it has come, shows what the response has become. */
  #cancel(call: Call): void {
    const { logs, recorder } = this.#host.thread
    const show = (): void => this.#show(call, stored => stored.json())
    const { tenant, id, visit } = call
    const state = StoredResponse.with(logs, tenant.id, id, ({ name, log }) => {
      if (logs.stop(name, tenant.id) !== 'stopping') return 'ended'
      recorder.cancelled()
      const waiter = { onHead: () => {}, onBytes: () => true, onEnd: show }
      const got = logs.follow(name, tenant.id, waiter, log.bytes)
      if (typeof got === 'string') return 'ended'
      visit.holder = { leave: () => got.detach() }
      return 'stopping'
    })
    if (state !== 'stopping') show()
  }

  #stream(call: Call, query: URLSearchParams): void {
    const after = query.get('starting_after') ?? call.head.lastEventId ?? '-1'
    if (after !== '-1' && !WHOLE_NUMBER.test(after)) {
      return this.#refuseNumber(call, 'starting_after')
    }
    const { logs } = this.#host.thread
    const error = StoredResponse.with(logs, call.tenant.id, call.id, stored => {
      const { log } = stored
      return (
        streamFault(stored) ?? this.#follow(call, log, eventsUpTo(log, Number(after)), RESPONSES)
      )
    })
    if (error instanceof OperatingError) {
      this.#host.refuse(call.visit, call.head, error, false)
    }
  }

  #resumeChat(call: Call): void {
    const { logs } = this.#host.thread
    const last = call.head.lastEventId ?? '-1'
    if (last !== '-1' && !WHOLE_NUMBER.test(last)) {
      return this.#refuseNumber(call, 'last-event-id')
    }
    const log = takeChat(logs, call.tenant.id, call.id)
    if (log === null) {
      return this.#host.refuse(call.visit, call.head, absent(logs, call.tenant.id, call.id), false)
    }
    const error = this.#follow(call, log, Number(last) + 1, CHAT)
    log.release()
    if (error !== null) this.#host.refuse(call.visit, call.head, error, false)
  }

  #refuseNumber(call: Call, param: string): void {
    const message = `'${param}' must be the number of an event, or left out`
    const error = new OperatingError('invalid_request', message, param)
    this.#host.refuse(call.visit, call.head, error, false)
  }

  /** Sends what comes after the first `events` events. */
  #follow(
    call: Call,
    log: LogSnapshot,
    events: number,
    endpoint: EndpointFacts,
  ): OperatingError | null {
    const { visit, head, tenant, id } = call
    const { requestId } = visit
    const start = startAfter(log, events)
    if (start instanceof OperatingError) return start
    const numbers = endpoint === CHAT ? new EventNumbers(events) : null
    const headers = [[RESPONSE_ID_HEADER, id]] as const
    const stream = this.#host.stream(visit, { endpoint, headers, numbers, requestId }, tenant)
    const follow = followLate(this.#host.thread, log.name, start, {
      id: visit.id,
      clientId: head.requestId,
      tenant,
      endpoint: endpoint.name,
      transport: 'http',
      kind: 'resumed',
      responseId: id,
      from: events,
    })
    const error = refusedAs(stream.join(follow), id)
    if (error === null) visit.holder = stream
    return error
  }
}
