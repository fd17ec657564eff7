import { expect, test } from 'vitest'
import {
  LineSink,
  LOG_PENDING_BYTES_MAX,
  LOG_WRITE_BYTES_MAX,
  type WriteCall,
} from '../../src/observe/line_sink.ts'

interface Taken {
  readonly writes: string[]
  readonly call: WriteCall
}

/** A kernel that takes at most `bytesMax` of each write, or fails with the codes given first. */
function kernel(bytesMax: number, ...codes: string[]): Taken {
  const writes: string[] = []
  const call: WriteCall = (_, bytes, done) => {
    const code = codes.shift()
    if (code !== undefined) {
      setImmediate(() => done(Object.assign(new Error(code), { code }), 0))
      return
    }
    const part = bytes.subarray(0, bytesMax)
    writes.push(part.toString())
    setImmediate(() => done(null, part.length))
  }
  return { writes, call }
}

test('each write is made of whole lines and stays within the limit', async () => {
  const { writes, call } = kernel(Number.POSITIVE_INFINITY)
  const sink = new LineSink(9, 3072, () => {}, call)
  const lines = Array.from({ length: 500 }, (_, n) => `${n}${'x'.repeat((n * 37) % 900)}\n`)
  for (const line of lines) sink.write(line)
  await sink.flush()
  expect(writes.join('')).toBe(lines.join(''))
  for (const text of writes) {
    expect(text.length).toBeLessThanOrEqual(LOG_WRITE_BYTES_MAX)
    expect(text.endsWith('\n')).toBe(true)
  }
})

test('lines of a batch share a write', async () => {
  const { writes, call } = kernel(Number.POSITIVE_INFINITY)
  const sink = new LineSink(9, 100, () => {}, call)
  sink.write('a\n')
  sink.write('b\n')
  expect(writes).toEqual([])
  await sink.flush()
  expect(writes).toEqual(['a\nb\n'])
})

test('a line longer than a write goes out whole', async () => {
  const { writes, call } = kernel(Number.POSITIVE_INFINITY)
  const sink = new LineSink(9, 0, () => {}, call)
  const long = `${'y'.repeat(3 * LOG_WRITE_BYTES_MAX)}\n`
  sink.write('a\n')
  sink.write(long)
  sink.write('b\n')
  await sink.flush()
  expect(writes.join('')).toBe(`a\n${long}b\n`)
})

test('a partial write is continued and a full pipe is tried again', async () => {
  const { writes, call } = kernel(3, 'EAGAIN', 'EAGAIN')
  let drops = 0
  const sink = new LineSink(9, 0, () => (drops += 1), call)
  sink.write('abcdefgh\n')
  await sink.flush()
  expect(writes).toEqual(['abc', 'def', 'gh\n'])
  expect(drops).toBe(0)
})

test('a destination that went away drops lines and later ones are still tried', async () => {
  const { writes, call } = kernel(100, 'EPIPE')
  let drops = 0
  const sink = new LineSink(9, 0, () => (drops += 1), call)
  sink.write('lost\n')
  await sink.flush()
  sink.write('kept\n')
  await sink.flush()
  expect([writes.join(''), drops]).toEqual(['kept\n', 1])
})

test('lines are dropped and counted past the limit of a destination that takes nothing', () => {
  let drops = 0
  const sink = new LineSink(
    9,
    0,
    () => (drops += 1),
    () => {},
  )
  const line = `${'z'.repeat(65_535)}\n`
  const lines = LOG_PENDING_BYTES_MAX / line.length + 5
  for (let n = 0; n < lines; n += 1) sink.write(line)
  expect(drops).toBe(5)
})
