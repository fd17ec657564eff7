import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { IndexModel } from '../model/prefix_index.ts'
import { setUp, walks } from './index_commands.ts'

/** Walks of the default suite; WARMPATH_INDEX_WALKS makes a longer run. */
const WALKS = Number(process.env.WARMPATH_INDEX_WALKS ?? 300)
const COMMANDS_MAX = 60

/** What the report says of the first walk that differs, with its seed; null if none does. */
function difference(makeModel: () => IndexModel, runs: number): string | null {
  const property = fc.property(walks(COMMANDS_MAX), commands => {
    const model = makeModel()
    fc.modelRun(() => ({ model, real: setUp(model) }), commands)
  })
  const result = fc.check(property, { numRuns: runs })
  return result.failed
    ? `${fc.defaultReportMessage(result)}\n${String(result.errorInstance)}`
    : null
}

describe('the prefix index', () => {
  test('IX-01: equals its model after every command of random walks', () => {
    expect(difference(() => new IndexModel(), WALKS)).toBe(null)
  })

  const broken: Readonly<Record<string, () => IndexModel>> = {
    'loses a copy': () => {
      const model = new IndexModel()
      const remove = model.remove.bind(model)
      model.remove = (slot, hash) => {
        const held = model.held.get(slot)?.get(hash)
        if (held !== undefined) held.copies = 1
        remove(slot, hash)
      }
      return model
    },
    'forgets parked stores': () => {
      const model = new IndexModel()
      const store = model.store.bind(model)
      model.store = (slot, event) => {
        store(slot, event)
        model.parked = []
      }
      return model
    },
    'keeps one block of a cleared slot': () => {
      const model = new IndexModel()
      const clear = model.clear.bind(model)
      model.clear = slot => {
        const [first] = model.held.get(slot) ?? []
        clear(slot)
        if (first !== undefined) model.held.set(slot, new Map([first]))
      }
      return model
    },
    'bridges a hole': () => {
      const model = new IndexModel()
      const match = model.match.bind(model)
      model.match = (root, parts) => {
        const depths = match(root, parts)
        for (const [slot, depth] of depths) {
          const path = `${root}/${parts.slice(0, depth + 2).join('/')}`
          const held = [...(model.held.get(slot)?.values() ?? [])]
          if (depth + 2 <= parts.length && held.some(one => one.path === path)) {
            depths.set(slot, depth + 2)
          }
        }
        return depths
      }
      return model
    },
  }

  test.each(Object.entries(broken))('the comparison finds a model that %s', (_, makeModel) => {
    expect(difference(makeModel, 400)).toMatch(/seed: .*(lookup|holds)/s)
  })
})
