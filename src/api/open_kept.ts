/**
 * The log of a planned answer, before its exchange: found in flight, opened, or none needed.
 *
 *   plan.keeping null               null: new Exchange(thread, plan.request, asker)
 *   an identical one is in flight   `join` is told its name and reads it; no exchange
 *   there is no room to keep it     null, and no id is named; an error where nobody would read it
 *   else                          a log of its own: new Exchange(thread, plan.request, asker, log)
 *
 * Two threads may look at the same moment, find nothing and open a log each: the one whose
 * publishing fails looks again and joins.
 */
import { OperatingError } from '../errors.ts'
import { KeptLog } from '../exchange/kept_log.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import type { LogName } from '../responses/log_owner.ts'
import type { Plan } from './plan.ts'

/** `join` attaches the asker to a log from its start; false where that is no longer possible. */
export function openKept(
  thread: ExchangeThread,
  plan: Plan,
  join: (name: LogName) => boolean,
): KeptLog | null | 'joined' | OperatingError {
  const { keeping, shareKey, request } = plan
  if (keeping === null) return null
  const tryJoin = (): boolean => {
    const name = shareKey === null ? null : thread.logs.find(request.tenant.id, shareKey)
    return name !== null && join(name)
  }
  if (tryJoin()) return 'joined'
  const kept = new KeptLog(thread, request, keeping)
  if (kept.isPublished) return kept
  kept.withdraw()
  if (tryJoin()) return 'joined'
  if (keeping.onLeft !== 'continue') return null
  const message = 'there is no room to keep this response until somebody asks for it'
  return new OperatingError('server_is_overloaded', message)
}
