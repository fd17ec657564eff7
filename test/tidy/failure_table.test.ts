/** Every row of the model cache's failure table names tests that exist. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { FAILURE_TABLE } from '../model-cache/failure_table.ts'

const FOLDER = 'test/model-cache'
const ROWS = 33

test.each(Object.entries(FAILURE_TABLE))('%s', (_, places) => {
  expect(places.length).toBeGreaterThan(0)
  for (const [file, words] of places) {
    expect(readFileSync(path.join(FOLDER, file), 'utf8'), `${file}: ${words}`).toContain(words)
  }
})

test('no row is left out', () => {
  const numbers = Object.keys(FAILURE_TABLE).map(row => Number(/^MC-(\d+)/.exec(row)?.[1]))
  expect(numbers).toEqual(Array.from({ length: ROWS }, (_, at) => at + 1))
})
