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
  /** A copy that the other thread owns. */
  readonly body: Uint8Array<ArrayBuffer>
  readonly kind: PromptKind
  /** Directory of the tokenizer, or "toy". */
  readonly tokenizer: string
  /** One word: the root of the chain. */
  readonly root: BigUint64Array
  readonly blockSize: number
}

export type TokenOutcome = KeyChain | FallbackReason

export interface TokenPool {
  /** False when the queue is full; else `done` is called once, in a later turn. */
  submit(task: TokenTask, done: (outcome: TokenOutcome) => void): boolean
  close(): Promise<void>
}
