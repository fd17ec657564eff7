/**
 * What one WebSocket remembers of responses that are not stored (`"store": false`): the latest of
 * each lane, so that `previous_response_id` can go on from it.
 *
 *     lane plan:  resp_1 ──► resp_2 ──► resp_3     remembered: resp_3; resp_2 went as it came
 *     lane fork:     └──► resp_4                   remembered: resp_4
 *
 * A remembered response is a kept log like any other, but published under a key that only this
 * connection can make, so that no other request finds it; it goes with the connection. A turn of a
 * lane that fails takes what it continued with it; one of another lane leaves it where it was.
 */
import { createHash } from 'node:crypto'
import type { Memory } from '../api/plan.ts'
import { RESPONSE_PREFIX } from '../api/stored_response.ts'
import { nativeLog } from '../native/response_log.ts'
import type { LogOwner } from '../responses/log_owner.ts'

/** Hex digits of a key: 192 bits, and the key stays within the length of an id. */
const KEY_DIGITS = 48

export class SocketMemory implements Memory {
  readonly retentionMs: number
  readonly #logs: LogOwner
  readonly #tenant: number
  readonly #secret: string
  /** Id of the latest response by the name of its lane; null is the default lane. */
  readonly #latest = new Map<string | null, string>()

  constructor(logs: LogOwner, tenant: number, secret: string, retentionMs: number) {
    this.#logs = logs
    this.#tenant = tenant
    this.#secret = secret
    this.retentionMs = retentionMs
  }

  keyOf(responseId: string): string {
    const digest = createHash('sha256').update(this.#secret).update(responseId).digest('hex')
    return RESPONSE_PREFIX + digest.slice(0, KEY_DIGITS)
  }

  /** The turn of a lane is over. */
  settle(
    lane: string | null,
    responseId: string | null,
    previousId: string | null,
    isFailed: boolean,
  ): void {
    const latest = this.#latest.get(lane) ?? null
    if (isFailed) {
      if (responseId !== null) this.#forget(responseId)
      if (previousId === null || previousId !== latest) return
    }
    if (latest !== null && latest !== responseId) this.#forget(latest)
    if (isFailed || responseId === null) this.#latest.delete(lane)
    else this.#latest.set(lane, responseId)
  }

  /** The connection has gone, and its memory with it. */
  close(): void {
    for (const id of this.#latest.values()) this.#forget(id)
    this.#latest.clear()
  }

  /** What is stored is not found by its key here, and stays. */
  #forget(responseId: string): void {
    const name = this.#logs.find(this.#tenant, this.keyOf(responseId))
    if (name !== null) nativeLog.logDiscard(name.slot, name.generation)
  }
}
