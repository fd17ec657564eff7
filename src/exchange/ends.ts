/** How the ends of exchanges are called: in metrics, and to the readers of their logs. */
import type { ErrorCode } from '../errors.ts'
import type { FinishReason } from '../observe/metrics/labels.ts'
import type { LogEnd } from '../responses/log_reader.ts'
import type { Completion } from './request.ts'

/** How the router's refusals are counted. */
export const REFUSED_AS: Partial<Record<ErrorCode, FinishReason>> = {
  slow_down: 'queue_full',
  server_is_overloaded: 'queue_timeout',
  model_not_found: 'refused',
}

/** `fault` is why a reply that had begun did not become whole. */
export function endOf(reason: FinishReason, fault: string | undefined): LogEnd {
  if (fault !== undefined) return { kind: 'failed', reason: fault }
  return { kind: reason === 'complete' ? 'complete' : 'cancelled' }
}

/** vLLM can send `[DONE]` alone when it dies before the first token: nothing was answered. */
export function isEmptyStream(completion: Completion, chunk: Buffer): boolean {
  if (completion !== 'done' || chunk.length > 32) return false
  return chunk.toString('latin1').trim() === 'data: [DONE]'
}
