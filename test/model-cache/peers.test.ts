/**
 * What members say of themselves goes over several connections, so it may overtake: whoever asks
 * and is asked at one moment hears two statements, and the later one must stand.
 */
import { describe, expect, test } from 'vitest'
import { deferred } from '../../src/model-cache/deferred.ts'
import type { HelloClient, HelloFailure, HelloReply } from '../../src/model-cache/hello.ts'
import type { PeerPlace, Statement } from '../../src/model-cache/peer.ts'
import { Peers } from '../../src/model-cache/peers.ts'

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

const ignore = (): void => {}

/** One of two members; `answers` are to be given to its hellos by hand. */
function acquaintance() {
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
    now: () => 0,
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
