/**
 * What the main thread and a gateway thread say to each other over their message port. This is
 * the control plane: rare messages, plain data. What is hot (load, logs, predictions, wake-ups)
 * lives in native memory and never comes here.
 */
import type { KeyTable } from '../access/keys.ts'
import type { FleetView, NodeOutcome } from '../nodes/fleet_view.ts'
import type { LogLevel } from '../observe/config.ts'

export type ToThread =
  | { readonly kind: 'view'; readonly view: FleetView }
  | { readonly kind: 'access'; readonly keys: KeyTable }
  | { readonly kind: 'logLevel'; readonly level: LogLevel }
  | { readonly kind: 'metrics'; readonly text: string }
  /** Stop accepting, finish what runs within `graceMs`, close and end. */
  | { readonly kind: 'drain'; readonly graceMs: number }

export type ToMain =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'outcome'; readonly outcome: NodeOutcome }
  | { readonly kind: 'askMetrics' }
