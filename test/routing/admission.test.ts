import { describe, expect, test } from 'vitest'
import type { OperatingError } from '../../src/errors.ts'
import { SWEEP_MS, type WaitBoard } from '../../src/routing/admission.ts'
import type { Placement, PlaceResult, Waiting } from '../../src/routing/router.ts'
import {
  type FakeFleet,
  fakeFleet,
  fakeNode,
  fakeNodes,
  fakeView,
  promptOf,
  seededRandom,
} from './fake_fleet.ts'

const PROMPT = promptOf([['p', 64]])
const ONE_AT_A_TIME = fakeNodes(1, { inFlightMax: 1 })

interface Seen extends Waiting {
  placement: Placement | null
  error: OperatingError | null
}

function seen(): Seen {
  const own: Seen = {
    placement: null,
    error: null,
    placed: placement => void (own.placement = placement),
    refused: error => void (own.error = error),
  }
  return own
}

function leaseOf(result: PlaceResult): Placement['lease'] {
  if (result.kind !== 'placed') throw new Error(`not placed: ${result.kind}`)
  return result.placement.lease
}

describe('admission', () => {
  test('an exchange waits when every place is full and is placed when one frees', () => {
    const { router, clock } = fakeFleet(ONE_AT_A_TIME)
    const lease = leaseOf(router.place(PROMPT, [], seen()))
    const waiting = seen()
    expect(router.place(PROMPT, [], waiting).kind).toBe('waiting')
    expect(router.admission.waiting).toBe(1)
    lease.release()
    expect(waiting.placement).toBeNull()
    clock.advance(0)
    expect(waiting.placement?.slot).toBe(0)
    expect(router.admission.waiting).toBe(0)
  })

  test('the order is first come, first served, newcomers included', () => {
    const { router, clock } = fakeFleet(ONE_AT_A_TIME)
    let lease = leaseOf(router.place(PROMPT, [], seen()))
    const order: number[] = []
    const held: Placement[] = []
    const join = (name: number): PlaceResult =>
      router.place(PROMPT, [], {
        placed: placement => {
          order.push(name)
          held.push(placement)
        },
        refused: () => expect.unreachable(),
      })
    for (const name of [1, 2, 3]) expect(join(name).kind).toBe('waiting')
    lease.release()
    // The place is free now, but three are before the newcomer.
    expect(join(4).kind).toBe('waiting')
    for (let i = 0; i < 4; i++) {
      clock.advance(0)
      const next = held[i]
      if (next === undefined) throw new Error(`nobody was placed after ${order.join()}`)
      lease = next.lease
      lease.release()
    }
    expect(order).toEqual([1, 2, 3, 4])
  })

  test('LC-05: a full queue is 429, a deadline 503, both may be tried again', () => {
    const { router, clock } = fakeFleet(ONE_AT_A_TIME, { waitingItemsMax: 2 })
    leaseOf(router.place(PROMPT, [], seen()))
    const waiting = [seen(), seen()]
    for (const one of waiting) expect(router.place(PROMPT, [], one).kind).toBe('waiting')
    const over = router.place(PROMPT, [], seen())
    expect(over).toMatchObject({ kind: 'refused', error: { code: 'slow_down', status: 429 } })
    clock.advance(10_000 - SWEEP_MS)
    expect(waiting[0]?.error).toBeNull()
    clock.advance(2 * SWEEP_MS)
    for (const { error } of waiting) {
      expect(error).toMatchObject({ code: 'server_is_overloaded', status: 503, isPassing: true })
    }
    expect(router.admission).toMatchObject({ waiting: 0, waited: 2, rejected: 1, expired: 2 })
    expect(clock.pending).toBeLessThanOrEqual(1)
  })

  test('a queue of zero refuses at once', () => {
    const { router } = fakeFleet(ONE_AT_A_TIME, { waitingItemsMax: 0 })
    leaseOf(router.place(PROMPT, [], seen()))
    expect(router.place(PROMPT, [], seen()).kind).toBe('refused')
  })

  test('an exchange that is cancelled while it waits is never placed', () => {
    const { router, clock, table } = fakeFleet(ONE_AT_A_TIME)
    const lease = leaseOf(router.place(PROMPT, [], seen()))
    const gone = seen()
    const result = router.place(PROMPT, [], gone)
    if (result.kind === 'waiting') result.waiter.cancel()
    if (result.kind === 'waiting') result.waiter.cancel()
    lease.release()
    clock.advance(20_000)
    expect(gone).toMatchObject({ placement: null, error: null })
    expect(table.isZero).toBe(true)
    expect(clock.pending).toBe(0)
  })

  test('a model that is full does not block another one', () => {
    const models = [{ id: 'other', parent: null, body: {} }]
    const { router, clock } = fakeFleet([...ONE_AT_A_TIME, fakeNode(1, { models, inFlightMax: 1 })])
    leaseOf(router.place(PROMPT, [], seen()))
    const other = { ...PROMPT, model: 'other' }
    const lease = leaseOf(router.place(other, [], seen()))
    const stuck = seen()
    const next = seen()
    router.place(PROMPT, [], stuck)
    router.place(other, [], next)
    lease.release()
    clock.advance(0)
    expect(stuck.placement).toBeNull()
    expect(next.placement?.slot).toBe(1)
  })

  test('a node that comes back takes the waiters', () => {
    const { router, clock } = fakeFleet(ONE_AT_A_TIME)
    leaseOf(router.place(PROMPT, [], seen()))
    const waiting = seen()
    router.place(PROMPT, [], waiting)
    router.useView(fakeView([...ONE_AT_A_TIME, fakeNode(1)]))
    clock.advance(0)
    expect(waiting.placement?.slot).toBe(1)
  })
})

/** Two gateway threads of one process: shared table and counters, a mailbox that may lose mail. */
function twoThreads(loses: () => boolean): { threads: FakeFleet[]; waiting: Int32Array } {
  const waiting = new Int32Array(2)
  const threads: FakeFleet[] = []
  const wake = (thread: number, slot: number, hops: number): boolean => {
    if (!loses()) threads[thread]?.router.admission.receive(slot, hops)
    return true
  }
  for (const self of [0, 1]) {
    const board: WaitBoard = { waiting, self, wake }
    const first = threads[0]
    const options = { board, waitingItemsMax: 100, seed: self }
    const shared = first === undefined ? {} : { shared: first }
    threads.push(fakeFleet(fakeNodes(2, { inFlightMax: 2 }), { ...options, ...shared }))
  }
  return { threads, waiting }
}

describe('two threads', () => {
  test('a slot freed on one thread wakes a waiter of the other', () => {
    const { threads, waiting } = twoThreads(() => false)
    const [one, two] = threads
    if (one === undefined || two === undefined) throw new Error('two threads')
    const leases = [1, 2, 3, 4].map(() => leaseOf(one.router.place(PROMPT, [], seen())))
    const remote = seen()
    expect(two.router.place(PROMPT, [], remote).kind).toBe('waiting')
    expect([...waiting]).toEqual([0, 1])
    leases[0]?.release()
    one.clock.advance(0)
    expect(remote.placement).not.toBeNull()
    expect([...waiting]).toEqual([0, 0])
  })

  test('under saturation no waiter is forgotten and the load returns to zero', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed)
      const { threads, waiting } = twoThreads(() => random() < 0.1)
      const clock = threads[0]?.clock
      const open: Placement['lease'][] = []
      let ended = 0
      const waiter: Waiting = {
        placed: placement => void open.push(placement.lease),
        refused: () => void ended++,
      }
      const begin = (fleet: FakeFleet): void => {
        const result = fleet.router.place(PROMPT, [], waiter)
        if (result.kind === 'placed') waiter.placed(result.placement)
        if (result.kind === 'refused') ended++
        if (result.kind === 'waiting' && random() < 0.2) {
          result.waiter.cancel()
          ended++
        }
      }
      const begun = 400
      for (let i = 0; i < begun; i++) {
        const fleet = threads[random() < 0.7 ? 0 : 1]
        if (fleet !== undefined) begin(fleet)
        if (random() < 0.6 && open.length > 0) {
          const [lease] = open.splice(Math.floor(random() * open.length), 1)
          if (random() < 0.5) lease?.firstToken()
          lease?.release()
          ended++
        }
        clock?.advance(Math.floor(random() * 20))
      }
      for (let turn = 0; turn < 2_000 && ended < begun; turn++) {
        const lease = open.shift()
        lease?.release()
        if (lease !== undefined) ended++
        clock?.advance(SWEEP_MS)
      }
      expect({ seed, ended }).toEqual({ seed, ended: begun })
      expect(threads[0]?.table.isZero).toBe(true)
      expect([...waiting]).toEqual([0, 0])
    }
  })
})
