/**
 * What members say of themselves goes over several connections, so it may overtake: whoever asks
 * and is asked at one moment hears two statements, and the later one must stand.
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { deferred } from '../../src/model-cache/deferred.ts'
import type { HelloClient, HelloFailure, HelloReply } from '../../src/model-cache/hello.ts'
import type { PeerPlace, Statement } from '../../src/model-cache/peer.ts'
import { MEMBER_LEASE_MS, Peers, type PeersOptions } from '../../src/model-cache/peers.ts'

const FILE = 'f'.repeat(32)
const GENERATION = '9'.repeat(32)
const OTHER: PeerPlace = { id: 'other', host: '127.0.0.1', port: 9001, dataPort: 9002 }

function loading(sequence: number): Statement {
  const holding = { generation: GENERATION, chunks: new Uint8Array([0]) }
  return { sequence, holdings: new Map([[FILE, holding]]) }
}

function nothing(sequence: number): Statement {
  return { sequence, holdings: new Map() }
}

afterEach(() => {
  vi.useRealTimers()
})

const ignore = (): void => {}

/** One of two members; `answers` are to be given to its hellos by hand. */
function acquaintance(clock = { nowMs: 0 }, onKnown: PeersOptions['onKnown'] = ignore) {
  const answers: ((reply: HelloReply | HelloFailure) => void)[] = []
  const client: HelloClient = {
    hello: () => {
      const { promise, resolve } = deferred<HelloReply | HelloFailure>()
      answers.push(resolve)
      return promise
    },
    digests: () => Promise.resolve(null),
    close: () => {},
  }
  const addresses = [`${OTHER.host}:${OTHER.port}`]
  const peers = new Peers({
    client,
    addresses,
    warmup: null,
    selfId: 'self',
    onKnown,
    now: () => clock.nowMs,
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
  })
  const isLoading = (): boolean | undefined => peers.all()[0]?.isLoading(FILE, GENERATION)
  return { peers, answers, isLoading }
}

function answer(said: Statement, id = OTHER.id): HelloReply {
  return { kind: 'hello', place: { ...OTHER, id }, said, members: [] }
}

describe('a statement of another member', () => {
  test('does not undo a later one that came first', async () => {
    const { peers, answers, isLoading } = acquaintance()
    const told = peers.announce()
    // It answers that it loads nothing; then it begins to, and its own hello is here first.
    peers.heard(OTHER, loading(2))
    answers[0]?.(answer(nothing(1)))
    await told
    expect(isLoading()).toBe(true)
  })

  test('replaces an earlier one', async () => {
    const { peers, answers, isLoading } = acquaintance()
    const told = peers.announce()
    peers.heard(OTHER, loading(1))
    answers[0]?.(answer(nothing(2)))
    await told
    expect(isLoading()).toBe(false)
  })

  test('counts anew when the member was started anew', async () => {
    const { peers, answers, isLoading } = acquaintance()
    peers.heard(OTHER, nothing(100))
    const told = peers.announce()
    answers[0]?.(answer(loading(1), 'another'))
    await told
    expect(isLoading()).toBe(true)
  })

  test('of a version without numbers is taken as it comes', async () => {
    const { peers, answers, isLoading } = acquaintance()
    const told = peers.announce()
    peers.heard(OTHER, nothing(0))
    answers[0]?.(answer(loading(0)))
    await told
    expect(isLoading()).toBe(true)
  })
})

describe('a member that does not answer', () => {
  test('is waited for once, and told what is loaded all the same', async () => {
    vi.useFakeTimers()
    const { peers, answers } = acquaintance()
    const first = peers.announce()
    await vi.advanceTimersByTimeAsync(1_000)
    await first
    await peers.announce()
    answers[0]?.({ kind: 'failed', message: 'no answer in time', isMisfit: false })
    await vi.advanceTimersByTimeAsync(0)
    expect(answers).toHaveLength(2)
    await peers.announce()
  })

  test('is waited for again when it has answered', async () => {
    const { peers, answers, isLoading } = acquaintance()
    const first = peers.announce()
    answers[0]?.({ kind: 'failed', message: 'refused', isMisfit: false })
    await first
    // It greets, so it is greeted at once, and has answered by the next file.
    peers.heard(OTHER, nothing(1))
    answers[1]?.(answer(nothing(2)))
    await vi.waitFor(() => expect(answers).toHaveLength(2))
    const told = peers.announce()
    await vi.waitFor(() => expect(answers).toHaveLength(3))
    answers[2]?.(answer(loading(3)))
    await told
    expect(isLoading()).toBe(true)
  })
})

test('a member that greeted us is forgotten when it has been silent for long', async () => {
  const clock = { nowMs: 0 }
  const known: string[][] = []
  const { peers, answers } = acquaintance(clock, all => known.push(all.map(({ id }) => id)))
  const newcomer = { ...OTHER, id: 'newcomer', port: 9101 }
  peers.heard(newcomer, nothing(1))
  const silent = async (): Promise<void> => {
    const greeted = peers.greet()
    for (const give of answers.splice(0)) give({ kind: 'failed', message: 'no', isMisfit: false })
    await greeted
  }
  clock.nowMs += MEMBER_LEASE_MS
  await silent()
  expect(peers.all().map(({ id, state }) => [id, state])).toEqual([['newcomer', 'down']])
  clock.nowMs += 1
  await silent()
  expect(known).toEqual([['newcomer'], []])
})
