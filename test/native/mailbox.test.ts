/** Mailboxes with real threads: order, one wake a batch, the limit, closing, threads that end. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it } from 'vitest'
import {
  closeMailbox,
  MAIL_LOST,
  MAIL_SLOT_FREED,
  MAIL_WORDS,
  openMailbox,
  postMail,
} from '../../src/native/mailbox.ts'
import { packageRoot } from '../../src/native/package_root.ts'

/** Messages that fit into one box; the same number as in native/mailbox/mailbox.h. */
const MAIL_ITEMS_MAX = 4096

const addonFile = `${packageRoot()}/build/Release/warmpath.node`

/** Lets the event loop go round once. */
function turn(): Promise<void> {
  return new Promise(resolve => {
    setImmediate(resolve)
  })
}

function startWorker(code: string, data: object): Worker {
  const head = `const { parentPort, workerData } = require('node:worker_threads')
    const native = require(workerData.addonFile)\n`
  return new Worker(head + code, { eval: true, workerData: { addonFile, ...data } })
}

/** Opens this thread's box; `arrived` resolves when as many messages as wanted have come. */
function collect(wanted: number) {
  const mails: number[][] = []
  const batches: number[] = []
  let resolve: (() => void) | null = null
  const arrived = new Promise<void>(done => {
    resolve = done
  })
  const threadId = openMailbox((words, count) => {
    batches.push(count)
    for (let i = 0; i < count; i++) {
      mails.push([...words.subarray(i * MAIL_WORDS, (i + 1) * MAIL_WORDS)])
    }
    if (mails.length >= wanted) resolve?.()
  }, true)
  return { threadId, mails, batches, arrived }
}

describe('mailbox', () => {
  afterEach(() => closeMailbox())

  it('delivers every message of several threads, each in its own order', async () => {
    const each = 20_000
    const { threadId, mails, arrived } = collect(each * 3)
    const code = `for (let i = 0; i < workerData.each; ) {
        if (native.mailPost(workerData.threadId, 4, workerData.who, i, i * 2)) i++
      }`
    const workers = [0, 1, 2].map(who => startWorker(code, { threadId, who, each }))
    await Promise.all([arrived, ...workers.map(worker => once(worker, 'exit'))])
    const kept = mails.filter(([kind]) => kind !== MAIL_LOST)
    await expect.poll(() => mails.filter(([kind]) => kind !== MAIL_LOST).length).toBe(each * 3)
    for (const who of [0, 1, 2]) {
      const own = kept.filter(mail => mail[1] === who)
      expect(own.every((mail, i) => mail[2] === i && mail[3] === i * 2)).toBe(true)
    }
  })

  it('wakes the thread once for a batch of messages', async () => {
    const { threadId, mails, batches, arrived } = collect(100)
    for (let i = 0; i < 100; i++) expect(postMail(threadId, MAIL_SLOT_FREED, i, 0, 0)).toBe(true)
    await arrived
    expect(batches).toEqual([100])
    expect(mails.map(mail => mail[1])).toEqual(Array.from({ length: 100 }, (_, i) => i))
  })

  it('refuses mail at the limit and says that some was lost', async () => {
    const { threadId, mails, arrived } = collect(MAIL_ITEMS_MAX + 1)
    for (let i = 0; i < MAIL_ITEMS_MAX; i++) expect(postMail(threadId, 9, i, 0, 0)).toBe(true)
    expect(postMail(threadId, 9, 0, 0, 0)).toBe(false)
    await arrived
    expect(mails[0]).toEqual([MAIL_LOST, 0, 0, 0])
    expect(mails.length).toBe(MAIL_ITEMS_MAX + 1)
    expect(postMail(threadId, 9, 0, 0, 0)).toBe(true)
  })

  it('refuses mail to a closed box, and its successor does not get it', async () => {
    const first = collect(1)
    expect(postMail(first.threadId, 9, 1, 0, 0)).toBe(true)
    closeMailbox()
    expect(postMail(first.threadId, 9, 2, 0, 0)).toBe(false)
    const second = collect(1)
    expect(second.threadId).not.toBe(first.threadId)
    expect(postMail(first.threadId, 9, 3, 0, 0)).toBe(false)
    expect(postMail(second.threadId, 9, 4, 0, 0)).toBe(true)
    await second.arrived
    expect(second.mails).toEqual([[9, 4, 0, 0]])
    expect(first.mails).toEqual([])
  })

  it('lets a thread with an open box end, and closes the box then', async () => {
    const code = 'parentPort.postMessage(native.mailOpen(() => {}, false))'
    const worker = startWorker(code, {})
    const [threadId] = await once(worker, 'message')
    await once(worker, 'exit')
    expect(postMail(Number(threadId), 9, 0, 0, 0)).toBe(false)
  })

  it('survives threads that are terminated while mail is posted to them', async () => {
    const code = `parentPort.postMessage(native.mailOpen(() => {}, true))`
    for (let round = 0; round < 10; round++) {
      const worker = startWorker(code, {})
      const [threadId] = await once(worker, 'message')
      const ended = worker.terminate()
      while (postMail(Number(threadId), 9, 0, 0, 0)) await turn()
      await ended
      expect(postMail(Number(threadId), 9, 0, 0, 0)).toBe(false)
    }
  })

  it('is opened once per thread', () => {
    collect(1)
    expect(() => openMailbox(() => {})).toThrow(/already/)
  })
})
