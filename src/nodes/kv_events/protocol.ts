/** Messages between the main thread and the KV-event thread: plain data, cloned. */
import type { KvFeedReport, KvSubscription } from '../kv_feed.ts'
import type { EventCounts } from './interpreter.ts'

export interface FeedCounters extends Readonly<EventCounts> {
  /** Messages that are none of the engine's. */
  readonly malformedMessages: number
  readonly duplicates: number
  readonly gaps: number
  readonly replays: number
  readonly restarts: number
  /** Times that more blocks were held than the rank has. */
  readonly overfull: number
}

/** What is known of one subscription; the counters are the slot's, of all that its node had. */
export interface SourceReport extends KvFeedReport {
  readonly isConnected: boolean
  /** Something was heard of the engine: a batch, or a whole replay without any. */
  readonly isJoined: boolean
  /** Sequence number of the last batch applied; -1 before the first. */
  readonly lastSeq: number
  readonly counters: FeedCounters
}

export type FeedCommand =
  | { readonly kind: 'subscribe'; readonly id: number; readonly subscription: KvSubscription }
  | { readonly kind: 'unsubscribe'; readonly id: number; readonly slot: number }
  | { readonly kind: 'clear'; readonly id: number; readonly slot: number }
  | { readonly kind: 'reports'; readonly id: number }
  | { readonly kind: 'close'; readonly id: number }

/** News, or the answer to the command of that id; `failure` says in words what prevented it. */
export type FeedMessage =
  | { readonly kind: 'report'; readonly report: SourceReport }
  | { readonly kind: 'reports'; readonly id: number; readonly reports: readonly SourceReport[] }
  | { readonly kind: 'done'; readonly id: number; readonly failure: string | null }
