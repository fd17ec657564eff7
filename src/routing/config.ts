/** The `routing:` section of the configuration file. */
import { z } from 'zod'
import { duration, integer, real } from '../setting.ts'
import { WAIT_MS_MAX, WAITING_ITEMS_MAX } from './admission.ts'
import { POLICY_NAMES } from './policy.ts'
import { BUDGET_SHARE_DEFAULT } from './retry_budget.ts'

export const routingSchema = z.strictObject({
  policy: z
    .enum(POLICY_NAMES)
    .default('prefix')
    .describe('How a node is chosen: prefix (least uncached work), least-load, round-robin.'),
  waiting_items_max: integer(0, 1_000_000)
    .default(WAITING_ITEMS_MAX)
    .describe('Requests that may wait for a free node on each gateway thread; more get 429.'),
  wait_ms_max: duration(0, 3_600_000)
    .default(WAIT_MS_MAX)
    .describe('Milliseconds a request may wait for a free node before it gets 503.'),
  retry_share: real(0, 1)
    .default(BUDGET_SHARE_DEFAULT)
    .describe('Share of requests that may be retried after a status or a timeout.'),
})

export type RoutingConfig = z.infer<typeof routingSchema>
