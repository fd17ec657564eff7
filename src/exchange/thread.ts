/** What every exchange of one gateway thread uses; made once, by front/gateway_thread.ts. */
import type { FleetView, NodeView, OutcomeKind } from '../nodes/fleet_view.ts'
import type { NodeSockets } from '../nodes/sockets.ts'
import type { PromptKeys } from '../prompt/keyer.ts'
import type { LogOwner } from '../responses/log_owner.ts'
import type { Router } from '../routing/router.ts'
import type { Deadlines } from './deadlines.ts'
import type { Recorder } from './record.ts'
import type { ExchangeRequest } from './request.ts'

export interface ExchangeThread {
  /** Milliseconds of a monotonic clock. */
  now(): number
  view(): FleetView
  /** No API keys are configured: the client's Authorization goes on to the node. */
  forwardsAuthorization(): boolean
  readonly timeouts: { readonly firstByteMs: number; readonly betweenBytesMs: number }
  readonly logLimits: {
    readonly keptBytesMax: number
    readonly lagBytesMax: number
    /** How long resumable work runs without a reader. */
    readonly graceMs: number
    /** How long after their end stored responses, and resumable streams, are found. */
    readonly retentionMs: number
    readonly resumeMs: number
  }
  /** Logs of this thread that others may read, and the way to those of other threads. */
  readonly logs: LogOwner
  readonly router: Router
  readonly sockets: NodeSockets
  readonly deadlines: Deadlines
  readonly recorder: Recorder
  /**
   * Keys the prompt: `done` is called in this turn (text, memo) or in a later one; null when there
   * is nothing to key. The returned function gives up waiting.
   */
  keyPrompt(request: ExchangeRequest, done: (keys: PromptKeys | null) => void): () => void
  /** Tells the main thread what was met at a node. */
  report(node: NodeView, kind: OutcomeKind): void
}
