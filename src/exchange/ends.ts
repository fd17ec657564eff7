/** How the ends of exchanges are called: in metrics, and to the readers of their logs. */
import type { ErrorCode } from '../errors.ts'
import { EVENT_DONE, EVENT_TERMINAL } from '../native/event_scanner.ts'
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

/** Why a stream whose body has ended by itself is not whole; undefined where that is its end. */
export function earlyEnd(completion: Completion): string | undefined {
  if (completion === 'body') return undefined
  if (completion === 'done') return 'the node ended its stream early'
  return 'the node ended its stream without a terminal event'
}

/**
 * Classes of the events after which a stream has said all: its body is ended in the same turn.
 * `[DONE]` is the end of a chat alone; a response without a terminal event is not whole.
 */
export function terminalClasses(completion: Completion): number {
  if (completion === 'done') return EVENT_DONE
  return completion === 'terminal' ? EVENT_TERMINAL & ~EVENT_DONE : EVENT_TERMINAL
}
