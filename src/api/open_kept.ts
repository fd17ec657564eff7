/**
 * The log of a planned answer, before its exchange: found in flight, opened, or none needed.
 *
 *   plan.keeping null               null: new Exchange(thread, plan.request, asker)
 *   an identical one is in flight   `join` is told its name and reads it; no exchange
 *   else                          a log of its own: new Exchange(thread, plan.request, asker, log)
 *
 * Two threads may look at the same moment, find nothing and open a log each: the one whose
 * publishing fails looks again and joins.
 */
import { KeptLog } from '../exchange/kept_log.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import type { LogName } from '../responses/log_owner.ts'
import type { Plan } from './plan.ts'

/** `join` attaches the asker to a log from its start; false where that is no longer possible. */
export function openKept(
  thread: ExchangeThread,
  plan: Plan,
  join: (name: LogName) => boolean,
): KeptLog | null | 'joined' {
  const { keeping, shareKey, request } = plan
  if (keeping === null) return null
  const tryJoin = (): boolean => {
    const name = shareKey === null ? null : thread.logs.find(request.tenant.id, shareKey)
    return name !== null && join(name)
  }
  if (tryJoin()) return 'joined'
  const kept = new KeptLog(thread, request, keeping)
  if (shareKey === null || kept.isPublished || !tryJoin()) return kept
  kept.withdraw()
  return 'joined'
}
