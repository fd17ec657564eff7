/**
 * `"generate": false`: a node prepares a prompt, and the client gets a response without output.
 *
 *     the prompt, for one token ──► node ──► its reply, not shown
 *                                              └──► created, in_progress, completed (no output)
 *
 * The node has computed the prompt by then, and the gateway's predictions say so: what continues
 * this response goes to the same node. The events are the gateway's own, made into a log of their
 * own, so that the response is stored, remembered and continued like every other one.
 */
import { scanObject } from '../api/json_object.ts'
import { OperatingError } from '../errors.ts'
import type { Asker } from '../exchange/asker.ts'
import type { Keeping } from '../exchange/keeping.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { nativeLog } from '../native/response_log.ts'
import { isRecord } from '../record.ts'
import type { LogEnd, LogHead } from '../responses/log_reader.ts'
import { ResponseLog } from '../responses/response_log.ts'
import type { Lane } from './websocket_lane.ts'

const HEAD = { status: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8' } }
const NOBODY = { pause: () => {}, resume: () => {}, abandoned: () => {}, stopped: () => {} }

/** Reads the node's reply; errors go on to the lane as they are. */
export class WarmUp implements Asker {
  readonly isLagging = false
  readonly #lane: Lane
  readonly #done: (reply: Buffer) => void
  readonly #pieces: Buffer[] = []
  #status = 0

  constructor(lane: Lane, done: (reply: Buffer) => void) {
    this.#lane = lane
    this.#done = done
  }

  follow(log: ResponseLog): void {
    log.attach(this)
  }

  refuse(error: OperatingError): void {
    this.#lane.refuse(error)
  }

  onHead(head: LogHead): void {
    this.#status = head.status
    if (head.status >= 400) this.#lane.onHead(head)
  }

  onBytes(chunk: Uint8Array): boolean {
    this.#pieces.push(Buffer.from(chunk))
    return true
  }

  onEnd(end: LogEnd): void {
    const reply = Buffer.concat(this.#pieces)
    if (end.kind === 'complete' && this.#status < 400) return this.#done(reply)
    if (this.#status >= 400) this.#lane.onBytes(reply, reply.length, 0)
    this.#lane.onEnd(end)
  }
}

/** The events of a response that has no output; null where the node's reply is none. */
function emptyResponse(reply: Buffer, id: string): string | null {
  // Scanned first: what is nested too deeply could be decoded, but not written again.
  if (scanObject(reply) === null) return null
  const decoded: unknown = JSON.parse(reply.toString('utf8'))
  if (!isRecord(decoded)) return null
  const begun = { ...decoded, id, output: [], incomplete_details: null }
  const events = [
    ['response.created', { ...begun, status: 'in_progress', usage: null }],
    ['response.in_progress', { ...begun, status: 'in_progress', usage: null }],
    ['response.completed', { ...begun, status: 'completed' }],
  ] as const
  return events
    .map(([type, response], number) => {
      const data = JSON.stringify({ type, response, sequence_number: number })
      return `event: ${type}\ndata: ${data}\n\n`
    })
    .join('')
}

/** Makes the response of a warmed prompt, kept as its plan says, and has the lane read it. */
export function answerWarmUp(
  thread: ExchangeThread,
  tenant: number,
  keeping: Keeping,
  id: string,
  reply: Buffer,
  lane: Lane,
): void {
  const events = emptyResponse(reply, id)
  if (events === null) {
    const message = 'the node answered with something else than a response'
    return lane.refuse(new OperatingError('upstream_error', message))
  }
  const { keptBytesMax, lagBytesMax } = thread.logLimits
  const log = new ResponseLog({
    kind: 'sse',
    mode: 'kept',
    tenant,
    bytesMax: keptBytesMax,
    lagBytesMax,
    upstream: NOBODY,
    owner: thread.logs,
  })
  nativeLog.logSetRetention(log.slot, log.generation, keeping.retentionMs)
  const { note } = keeping
  if (note === null || nativeLog.logSetNote(log.slot, log.generation, note)) {
    for (const one of keeping.ids) log.publish(one)
  }
  lane.follow(log)
  log.head(HEAD)
  log.append(Buffer.from(events))
  log.end({ kind: 'complete' })
  log.close()
}
