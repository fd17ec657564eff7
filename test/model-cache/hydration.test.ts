/** Which chunks of a file are offered to its lanes, when none, one or all of them have room. */
import { expect, test } from 'vitest'
import { CHUNK_BYTES, EXTENT_CHUNKS } from '../../src/model-cache/digest.ts'
import { Hydration } from '../../src/model-cache/hydration.ts'

const EXTENTS = 100
const LOOKS = 16

function hydration(): Hydration {
  const file = {
    path: 'm/a',
    kind: 'file' as const,
    mode: 0o644,
    size: EXTENTS * EXTENT_CHUNKS * CHUNK_BYTES - 1,
    mtimeNs: 0n,
    ctimeNs: 0n,
    inode: 1n,
    version: 1,
    fileId: 'f',
    generation: 'g',
    isAmbiguous: false,
  }
  return new Hydration(file, -1, 'open', 0)
}

/** Extents of which a chunk is offered until so many were not taken. */
function look(one: Hydration, takes: (extent: number) => boolean = () => false): number[] {
  const extents: number[] = []
  let looks = 0
  for (const chunk of one.candidates()) {
    const extent = Math.floor(chunk / EXTENT_CHUNKS)
    extents.push(extent)
    if (takes(extent)) one.take(chunk, false)
    else if (++looks === LOOKS) break
  }
  return extents
}

test('each look begins at the front, and goes on behind it where the last one ended', () => {
  const one = hydration()
  expect(look(one)).toEqual(Array.from({ length: LOOKS }, (_, at) => at))
  expect(look(one)).toEqual([0, ...Array.from({ length: LOOKS - 1 }, (_, at) => LOOKS + at)])
})

test('one lane with room is found wherever its extent lies', () => {
  for (let extent = 0; extent < EXTENTS; extent += 1) {
    const one = hydration()
    let passes = 0
    while (!look(one, at => at === extent).includes(extent)) passes += 1
    expect(passes).toBeLessThanOrEqual(Math.ceil(EXTENTS / (LOOKS - 1)))
  }
})

test('lanes with room for all take every chunk once, in order', () => {
  const one = hydration()
  const extents = look(one, () => true)
  expect(extents).toHaveLength(EXTENTS * EXTENT_CHUNKS)
  expect(extents).toEqual(extents.toSorted((a, b) => a - b))
  expect(look(one)).toEqual([])
})

test('a chunk that was given back is offered first', () => {
  const one = hydration()
  look(one, () => true)
  one.gaveBack(700)
  one.gaveBack(300)
  expect([...one.candidates()][0]).toBe(300)
})
