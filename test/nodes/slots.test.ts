import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SLOT_REST_MS, SlotAllocator } from '../../src/nodes/slots.ts'

describe('SlotAllocator', () => {
  test('slots are dense from 0 and run out at the bound', () => {
    const slots = new SlotAllocator(3)
    expect([slots.allocate(), slots.allocate(), slots.allocate()]).toEqual([0, 1, 2])
    expect(slots.allocate()).toBeNull()
  })

  test('a retired slot rests until its time is over and no lease is held on it', () => {
    const slots = new SlotAllocator(1)
    const freed: number[] = []
    const free = (slot: number) => void freed.push(slot)
    slots.allocate()
    slots.retire(0, 1000)
    slots.collect(1000 + SLOT_REST_MS - 1, () => true, free)
    slots.collect(1000 + SLOT_REST_MS, () => false, free)
    expect(freed).toEqual([])
    expect(slots.allocate()).toBeNull()
    slots.collect(1000 + SLOT_REST_MS, () => true, free)
    slots.collect(1000 + SLOT_REST_MS, () => true, free)
    expect(freed).toEqual([0])
    expect(slots.allocate()).toBe(0)
  })

  test('to retire what is not held is an error of the program', () => {
    const slots = new SlotAllocator(2)
    expect(() => slots.retire(0, 0)).toThrow(/not held/)
    slots.allocate()
    slots.retire(0, 0)
    expect(() => slots.retire(0, 0)).toThrow(/not held/)
  })

  test('whatever the order, no slot has two holders and every retired one is freed once', () => {
    const step = fc.constantFrom('allocate', 'retire', 'collect')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), steps => {
        const slots = new SlotAllocator(4)
        const held: number[] = []
        const resting = new Set<number>()
        let nowMs = 0
        for (const what of steps) {
          nowMs += SLOT_REST_MS / 2
          if (what === 'allocate') {
            const slot = slots.allocate()
            if (slot === null) continue
            expect(held).not.toContain(slot)
            expect(resting.has(slot)).toBe(false)
            held.push(slot)
          } else if (what === 'retire') {
            const slot = held.shift()
            if (slot === undefined) continue
            slots.retire(slot, nowMs)
            resting.add(slot)
          } else {
            slots.collect(
              nowMs,
              () => true,
              slot => expect(resting.delete(slot)).toBe(true),
            )
          }
          expect(slots.freeCount + slots.restingCount + held.length).toBe(4)
        }
      }),
    )
  })
})
