import { expect, test } from 'vitest'
import { ReadGatherer } from '../../src/nodes/read_gatherer.ts'

function gathering(): { gatherer: ReadGatherer; pieces: string[] } {
  const pieces: string[] = []
  const gatherer = new ReadGatherer(piece => pieces.push(piece.toString()))
  return { gatherer, pieces }
}

test('the chunks of one read are one piece, behind the callback that brought them', async () => {
  const { gatherer, pieces } = gathering()
  for (const chunk of ['a', 'b', 'c']) gatherer.push(Buffer.from(chunk))
  expect(pieces).toEqual([])
  await Promise.resolve()
  expect(pieces).toEqual(['abc'])
  gatherer.push(Buffer.from('d'))
  await Promise.resolve()
  expect(pieces).toEqual(['abc', 'd'])
})

test('a lone chunk is handed on as it lies in the buffer of its read', async () => {
  const handed: Buffer[] = []
  const gatherer = new ReadGatherer(piece => handed.push(piece))
  const read = Buffer.from('alone')
  gatherer.push(read)
  await Promise.resolve()
  expect(handed[0]).toBe(read)
})

test('a flush hands on what there is, once', async () => {
  const { gatherer, pieces } = gathering()
  gatherer.push(Buffer.from('a'))
  gatherer.flush()
  gatherer.flush()
  await Promise.resolve()
  expect(pieces).toEqual(['a'])
})

test('what a read may hold does not wait for its end', () => {
  const { gatherer, pieces } = gathering()
  gatherer.push(Buffer.alloc(40_000, 'x'))
  gatherer.push(Buffer.alloc(40_000, 'y'))
  expect(pieces.map(piece => piece.length)).toEqual([80_000])
})

test('a piece pushed while another is taken comes behind it', async () => {
  const pieces: string[] = []
  const gatherer: ReadGatherer = new ReadGatherer(piece => {
    pieces.push(piece.toString())
    if (pieces.length === 1) gatherer.push(Buffer.from('late'))
  })
  gatherer.push(Buffer.from('first'))
  await new Promise(setImmediate)
  expect(pieces).toEqual(['first', 'late'])
})
