/** OpenAI's rules for the events of one response, as far as an observer can check them. */
import type { ResponseStreamEvent } from 'openai/resources/responses/responses'
import { expect } from 'vitest'

const TERMINAL = ['response.completed', 'response.incomplete', 'response.failed']

/**
 * Numbers run from 0 without a gap; `response.created` comes first and only first; one terminal
 * event comes last and only last; an item is added before it has parts, a part before it has text,
 * and neither gets more once it is done; the deltas are the text that is done.
 */
export function checkEvents(events: readonly ResponseStreamEvent[]): void {
  expect(events.map(event => event.sequence_number)).toEqual([...events.keys()])
  const types = events.map(event => event.type)
  expect(types.indexOf('response.created')).toBe(0)
  expect(types.lastIndexOf('response.created')).toBe(0)
  const ends = types.flatMap((type, index) => (TERMINAL.includes(type) ? [index] : []))
  expect(ends).toEqual([events.length - 1])
  const ids = new Set(events.flatMap(event => ('response' in event ? [event.response.id] : [])))
  expect(ids.size).toBe(1)
  const open = new Map<string, string>()
  for (const event of events) checkItem(event, open)
}

/** `open` holds the text so far of each item that was added and is not done. */
function checkItem(event: ResponseStreamEvent, open: Map<string, string>): void {
  switch (event.type) {
    case 'response.output_item.added':
      expect(open.has(event.item.id ?? '')).toBe(false)
      open.set(event.item.id ?? '', '')
      return
    case 'response.output_text.delta':
      expect(open.has(event.item_id)).toBe(true)
      open.set(event.item_id, open.get(event.item_id) + event.delta)
      return
    case 'response.output_text.done':
      expect(open.get(event.item_id)).toBe(event.text)
      return
    case 'response.output_item.done':
      expect(open.delete(event.item.id ?? '')).toBe(true)
      return
    default:
  }
}
