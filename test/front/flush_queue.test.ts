import { beforeEach, expect, test } from 'vitest'
import { type Flushable, flushFirst, flushSoon } from '../../src/front/flush_queue.ts'

/** Resolves when what was put off in this turn of the event loop has run. */
function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** Names of streams in the order in which they were flushed. */
let flushed: string[] = []

function stream(name: string): Flushable {
  return { flush: () => flushed.push(name) }
}

beforeEach(async () => {
  // What an earlier test marked has left, and a turn has begun in which nothing was written.
  await nextTurn()
  await nextTurn()
  flushed = []
})

test('the first whole body of a turn leaves at once, what follows behind the turn', async () => {
  expect(flushFirst(stream('first'))).toBe(true)
  expect(flushed).toEqual(['first'])
  expect(flushFirst(stream('second'))).toBe(false)
  flushSoon(stream('third'))
  expect(flushed).toEqual(['first'])
  await nextTurn()
  expect(flushed).toEqual(['first', 'third'])
})

test('a stream waits for the end of its turn, where more of it may come', async () => {
  flushSoon(stream('stream'))
  expect(flushFirst(stream('whole'))).toBe(false)
  expect(flushed).toEqual([])
  await nextTurn()
  expect(flushed).toEqual(['stream'])
})

test('a turn with many streams does not hold back its first until all are there', async () => {
  const names = Array.from({ length: 40 }, (_, at) => `s${at}`)
  for (const name of names.slice(0, 16)) flushSoon(stream(name))
  await Promise.resolve()
  await new Promise<void>(resolve => process.nextTick(resolve))
  expect(flushed).toEqual(names.slice(0, 16))
  for (const name of names.slice(16)) flushSoon(stream(name))
  await nextTurn()
  expect(flushed).toEqual(names)
})
