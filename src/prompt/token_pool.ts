/**
 * What the keyer asks of the threads that hold tokenizers. A task carries a copy of the body, so
 * the client's own buffer never leaves its thread; what comes back is a chain or the reason why
 * the prompt is keyed by its text after all.
 */
import type { PromptKind } from '../native/json_scan.ts'
import type { KeyChain } from './keys.ts'

/** Why a prompt is keyed by its text although its model has a tokenizer. */
export type FallbackReason = 'unavailable' | 'template' | 'queue_full' | 'timeout' | 'error'

export interface TokenTask {
  /** A copy of the body that the other thread owns. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly kind: PromptKind
  /** Directory of the tokenizer, or "toy". */
  readonly tokenizer: string
  /** One word: the root of the chain. */
  readonly root: BigUint64Array
  readonly blockSize: number
}

/** A task on its way to its thread. */
export interface QueuedTask extends TokenTask {
  /** One word of shared memory: not 0 when nobody wants the tokens any more. */
  readonly givenUp: Int32Array
}

/** What is lasting may be remembered; a template that reads the clock gives what is true today. */
export interface TokenChain extends KeyChain {
  readonly isLasting: boolean
}

/** A question of the truth check. */
export interface TokenIdsTask {
  readonly tokenizer: string
  /** A body of /tokenize. */
  readonly json: string
}

export type TokenOutcome = TokenChain | FallbackReason

/** What a prompt thread answers: a chain, or why there is none, in words for the log. */
export type WorkerOutcome =
  | TokenChain
  | { readonly reason: FallbackReason; readonly message: string }

export interface TokenPool {
  /**
   * Null when the queue is full; else `done` is called once, in a later turn. The returned function
   * says that nobody wants the tokens any more: a task that has not begun is passed over.
   */
  submit(task: TokenTask, done: (outcome: TokenOutcome) => void): (() => void) | null
  close(): Promise<void>
}
