/** The plain model of the event scanner: the whole stream at once, line by line. */
import {
  EVENT_COMPLETED,
  EVENT_DONE,
  EVENT_ERROR,
  EVENT_FAILED,
  EVENT_INCOMPLETE,
  EVENT_MESSAGE_STOP,
} from '../../src/native/event_scanner.ts'

export interface ModelEvent {
  /** Offset just after the event's closing empty line. */
  readonly end: number
  readonly classes: number
}

const TYPES: Record<string, number> = {
  error: EVENT_ERROR,
  message_stop: EVENT_MESSAGE_STOP,
  'response.completed': EVENT_COMPLETED,
  'response.incomplete': EVENT_INCOMPLETE,
  'response.failed': EVENT_FAILED,
}

function field(line: string, name: string): string | null {
  if (line === name) return ''
  if (!line.startsWith(`${name}:`)) return null
  return line.slice(name.length + 1).replace(/^ /, '')
}

function classify(lines: readonly string[]): number {
  const data = lines.map(line => field(line, 'data')).filter(value => value !== null)
  const types = lines.map(line => field(line, 'event')).filter(value => value !== null)
  const [first] = data
  if (first === undefined) return 0
  let classes = TYPES[types.at(-1) ?? ''] ?? 0
  if (data.length === 1 && first === '[DONE]') classes |= EVENT_DONE
  if (/^\{"error"(?!: ?null)/.test(first)) classes |= EVENT_ERROR
  return classes
}

/** Events of a stream of one-byte characters; `isOver`: nothing follows its last byte. */
export function modelEvents(stream: string, isOver: boolean): ModelEvent[] {
  const events: ModelEvent[] = []
  let lines: string[] = []
  let from = 0
  for (const match of stream.matchAll(/\r\n|\n|\r/g)) {
    const line = stream.slice(from, match.index)
    from = match.index + match[0].length
    const isHeld = match[0] === '\r' && from === stream.length && !isOver
    if (line !== '') lines.push(line)
    else if (lines.length > 0 && !isHeld) {
      events.push({ end: from, classes: classify(lines) })
      lines = []
    }
  }
  return events
}
