/**
 * Carries outcomes of exchanges from a gateway thread to the fleet, and as few of them as the
 * breaker needs: a healthy fleet costs no message at all.
 *
 *     exchange ends ── note(node, kind) ──► ok after ok: nothing
 *                                           ok after a failure: one message (it ends the row)
 *                                           failure: one message, at most 20 a node and 100 ms
 *
 * A node that the view shows as out is expected to fail, on every thread: the first `ok` of its
 * trial is reported by whichever thread gets it.
 *
 * While the window is full both kinds are dropped together, so the order of what is sent stays
 * true: an `ok` that ends a row is never lost between two failures that arrive.
 */
import type { Clock } from './clock.ts'
import type { FleetView, NodeOutcome, NodeView, OutcomeKind } from './fleet_view.ts'

/** Length of a window of the message limit below (ms). */
const WINDOW_MS = 100
/** Messages per node and window; bounds what a storm of server errors costs the main thread. */
const WINDOW_MESSAGES_MAX = 20

interface Sent {
  epoch: number
  /** The last thing the fleet heard from this thread was a failure. */
  isFailing: boolean
  windowEndMs: number
  count: number
}

export class OutcomeReporter {
  readonly #clock: Clock
  readonly #post: (outcome: NodeOutcome) => void
  readonly #sent = new Map<string, Sent>()

  constructor(clock: Clock, post: (outcome: NodeOutcome) => void) {
    this.#clock = clock
    this.#post = post
  }

  /** Takes the outcome of one exchange on a node. */
  note(node: Pick<NodeView, 'id' | 'epoch'>, kind: OutcomeKind): void {
    const known = this.#sent.get(node.id)
    if (kind === 'ok' && (known === undefined || !known.isFailing)) return
    const nowMs = this.#clock.nowMs()
    const sent = known ?? this.#watch(node)
    if (node.epoch > sent.epoch || nowMs >= sent.windowEndMs) {
      sent.epoch = node.epoch
      sent.windowEndMs = nowMs + WINDOW_MS
      sent.count = 0
    }
    if (sent.count >= WINDOW_MESSAGES_MAX) return
    sent.count++
    sent.isFailing = kind !== 'ok'
    this.#post({ nodeId: node.id, epoch: node.epoch, kind })
  }

  /** Takes a new view: nodes that left are forgotten, nodes that are out are watched. */
  follow(view: FleetView): void {
    const ids = new Set(view.nodes.map(node => node.id))
    for (const id of this.#sent.keys()) if (!ids.has(id)) this.#sent.delete(id)
    for (const node of view.nodes) {
      if (node.state !== 'unhealthy') continue
      const sent = this.#sent.get(node.id) ?? this.#watch(node)
      sent.isFailing = true
    }
  }

  #watch(node: Pick<NodeView, 'id' | 'epoch'>): Sent {
    const sent: Sent = { epoch: node.epoch, isFailing: false, windowEndMs: 0, count: 0 }
    this.#sent.set(node.id, sent)
    return sent
  }
}
