/**
 * Readers on other threads, with real threads: the same bytes at any pace, flow, cancel, coming
 * back by id after the owner has gone, and the refusals.
 */
import { on } from 'node:events'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closeMailbox, MAIL_WORDS, openMailbox } from '../../src/native/mailbox.ts'
import { nativeLog, readLogTotals } from '../../src/native/response_log.ts'
import { LogOwner } from '../../src/responses/log_owner.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'
import { HEAD, latin1, Recorder } from './recorder.ts'

const TENANT = 7
const LAG_BYTES_MAX = 40_000

let owner: LogOwner
let worker: Worker
let messages: AsyncIterator<unknown[]>

/** What the worker answers; every field is checked where it is used. */
interface Answer {
  readonly refused?: string
  readonly attached?: boolean
  readonly left?: boolean
  readonly text?: string
  readonly ends?: readonly object[]
  readonly heads?: readonly object[]
  readonly isWhole?: boolean
}

async function answer(): Promise<Answer> {
  const { value } = await messages.next()
  // Decode boundary: remote_worker.mjs is the only sender.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return value[0] as Answer
}

async function ask(order: object): Promise<Answer> {
  worker.postMessage({ tenant: TENANT, events: 0, patience: 0, seed: 1, ...order })
  return answer()
}

function open(mode: 'kept' | 'window', id: string) {
  const calls: string[] = []
  const log = new ResponseLog({
    kind: 'sse',
    mode,
    tenant: TENANT,
    bytesMax: 10_000_000,
    lagBytesMax: LAG_BYTES_MAX,
    owner,
    upstream: {
      pause: () => calls.push('pause'),
      resume: () => calls.push('resume'),
      abandoned: () => calls.push('abandoned'),
      stopped: () => calls.push('stopped'),
    },
  })
  expect(log.publish(id)).toBe(true)
  log.head(HEAD)
  return { log, calls }
}

/** Lets the event loop go round once. */
function turn(): Promise<void> {
  return new Promise(resolve => {
    setImmediate(resolve)
  })
}

/** Appends `count` events as an upstream that obeys pause; returns what it sent. */
async function relay(log: ResponseLog, count: number, seed: number): Promise<string> {
  let sent = ''
  let state = seed
  for (let i = 0; i < count; i++) {
    while (log.isPaused) await turn()
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const text = `data: ${i} ${'x'.repeat((state >>> 16) % 900)}\n\n`
    const cut = (state >>> 8) % text.length
    log.append(latin1(text.slice(0, cut)))
    log.append(latin1(text.slice(cut)))
    sent += text
    if (state % 3 === 0) await turn()
  }
  return sent
}

function discard(id: string): void {
  const name = owner.find(TENANT, id)
  if (name !== null) nativeLog.logDiscard(name.slot, name.generation)
}

describe('a reader on another thread', () => {
  beforeAll(async () => {
    const threadId = openMailbox((words, count) => {
      for (let i = 0; i < count * MAIL_WORDS; i += MAIL_WORDS) {
        const [kind = 0, a = 0, b = 0, c = 0] = words.subarray(i, i + MAIL_WORDS)
        owner.onMail(kind, a, b, c)
      }
    })
    owner = new LogOwner(threadId)
    worker = new Worker(new URL('./remote_worker.mjs', import.meta.url))
    messages = on(worker, 'message')
    await answer()
  })

  afterAll(async () => {
    await worker.terminate()
    closeMailbox()
    expect(readLogTotals()).toEqual({ logs: 0, idleLogs: 0, ids: 0, bytes: 0 })
  })

  const paces = [0, 1, 3, 20]
  it.each(paces)('gets the same bytes when it pauses after %i pieces', async patience => {
    for (const mode of ['kept', 'window'] as const) {
      const { log } = open(mode, 'same')
      const local = new Recorder()
      log.attach(local)
      expect(await ask({ act: 'follow', id: 'same', patience, seed: patience })).toEqual({
        attached: true,
      })
      // With a local reader that keeps up a laggard would not be waited for but cut.
      log.detach(local)
      const sent = await relay(log, 400, patience + 1)
      log.end({ kind: 'complete' })
      log.close()
      const { text, ends, heads, isWhole } = await answer()
      expect(text).toBe(sent)
      expect([ends, heads, isWhole]).toEqual([[{ kind: 'complete' }], [HEAD], true])
      discard('same')
    }
  })

  it('pauses the upstream when it is the only one and takes nothing, and resumes it', async () => {
    const { log, calls } = open('window', 'slow')
    await ask({ act: 'follow', id: 'slow', patience: 1 })
    while (!log.isPaused) log.append(latin1(`data: ${'x'.repeat(990)}\n\n`))
    expect(readLogTotals().bytes).toBeLessThan(LAG_BYTES_MAX + 70_000)
    await expect.poll(() => log.isPaused).toBe(false)
    expect(calls).toEqual(['pause', 'resume'])
    log.end({ kind: 'failed', reason: 'connection reset' })
    log.close()
    const { text, ends } = await answer()
    expect(text?.length).toBe(log.bytes)
    expect(ends).toEqual([{ kind: 'failed', reason: 'connection reset' }])
  })

  it('is cut at the lag limit while a reader that keeps up goes on', async () => {
    const { log, calls } = open('window', 'cut')
    const fast = new Recorder()
    log.attach(fast)
    await ask({ act: 'follow', id: 'cut', patience: -1 })
    while (fast.text.length <= LAG_BYTES_MAX * 2) log.append(latin1('y'.repeat(1000)))
    expect((await answer()).ends).toEqual([{ kind: 'cut', reason: 'lag' }])
    expect([fast.ends, calls]).toEqual([[], []])
    log.close()
  })

  it('tells the owner when the last reader leaves', async () => {
    const { log, calls } = open('window', 'leave')
    await ask({ act: 'follow', id: 'leave' })
    log.append(latin1('data: 1\n\n'))
    expect(await ask({ act: 'leave' })).toEqual({ left: true })
    await expect.poll(() => calls).toEqual(['abandoned'])
    log.close()
  })

  it('comes back by id, from any event, after the owner is done with it', async () => {
    const { log } = open('kept', 'again')
    const sent = await relay(log, 50, 9)
    log.end({ kind: 'complete' })
    log.close()
    for (const events of [0, 1, 25, 49, 50]) {
      const from = events === 0 ? 0 : sent.split('\n\n', events).join('\n\n').length + 2
      const reply = await ask({ act: 'follow', id: 'again', events })
      expect(reply.text).toBe(sent.slice(from))
      expect(reply.ends).toEqual([{ kind: 'complete' }])
      // The end came within follow; the attached note follows it.
      expect(await answer()).toEqual({ attached: true })
    }
    discard('again')
  })

  it('is refused when the id is unknown, foreign, or its bytes have gone', async () => {
    const { log } = open('window', 'gone')
    log.append(latin1('data: 1\n\n'))
    expect(await ask({ act: 'follow', id: 'never' })).toEqual({ refused: 'unknown' })
    expect(await ask({ act: 'follow', id: 'gone', tenant: 8 })).toEqual({ refused: 'unknown' })
    expect(await ask({ act: 'follow', id: 'gone' })).toEqual({ refused: 'expired' })
    log.close()
  })
})
