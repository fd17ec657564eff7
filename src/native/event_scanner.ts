/**
 * Classes of server-sent events as the native scanner finds them, or-ed over the events that
 * ended in one chunk. See native/response_log/event_scanner.h.
 */

/** `data: [DONE]`, exactly and as the only data of its event. */
export const EVENT_DONE = 1
/** `event: error`, or data that begins with `{"error"` and is not null. */
export const EVENT_ERROR = 2
/** `event: response.completed` (Responses). */
export const EVENT_COMPLETED = 4
/** `event: response.incomplete` (Responses). */
export const EVENT_INCOMPLETE = 8
/** `event: response.failed` (Responses). */
export const EVENT_FAILED = 16
/** `event: message_stop` (Anthropic). */
export const EVENT_MESSAGE_STOP = 32

/** After one of these the engine has said all: end the body in the same turn. */
export const EVENT_TERMINAL =
  EVENT_DONE | EVENT_COMPLETED | EVENT_INCOMPLETE | EVENT_FAILED | EVENT_MESSAGE_STOP
