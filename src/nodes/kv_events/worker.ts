/**
 * The KV-event thread: the only writer of every prefix index of the process.
 *
 *     main ──commands──► worker ──► Source per (node, rank) ──► native index
 *     main ◄──reports───            (sockets, order, meaning)
 *
 * Commands are answered by id when they are done; who sends them keeps those of one slot in order.
 * News (state changes, restarts) go out at once; counters travel with them and on request. `close`
 * awaits every socket before the thread ends by itself: one that is torn down with open ZeroMQ
 * sockets takes the process with it.
 */
import assert from 'node:assert/strict'
import { parentPort } from 'node:worker_threads'
import type { KvSubscription } from '../kv_feed.ts'
import { PastCounters } from './past_counters.ts'
import type { FeedCommand, FeedMessage, SourceReport } from './protocol.ts'
import { NativeSlotIndex, SharedIndex } from './slot_index.ts'
import { loadZmq, type ZmqModule } from './sockets.ts'
import { ReplayGate, Source } from './source.ts'

assert(parentPort !== null, 'this file is a worker thread')
const port = parentPort
const gate = new ReplayGate()
const sources = new Map<number, Source>()
const indexes = new Map<number, SharedIndex>()
const past = new PastCounters()
const zmq: ZmqModule | string = await loadZmq()

function send(message: FeedMessage): void {
  port.postMessage(message)
}

function withPast(report: SourceReport): SourceReport {
  return { ...report, counters: past.sum(report.slot, report.counters) }
}

function sendReport(report: SourceReport): void {
  send({ kind: 'report', report: withPast(report) })
}

function sharedIndex({ indexId, model }: KvSubscription): SharedIndex {
  const known = indexes.get(indexId)
  if (known !== undefined) return known
  const made = new SharedIndex(indexId, model)
  indexes.set(indexId, made)
  return made
}

/** null, or what prevented it, in words. */
async function subscribe(subscription: KvSubscription): Promise<string | null> {
  const { slot, hashGroup, endpoint, nodeId } = subscription
  assert(!sources.has(slot), `slot ${slot} is subscribed already`)
  const index = new NativeSlotIndex(sharedIndex(subscription), slot, hashGroup)
  // Shows a slot again that was hidden for the node before. Predictions stay: hiding forgot those
  // of that node, and what was placed here since will be computed here, announced or not.
  index.dropBlocks()
  if (typeof zmq === 'string') return zmq
  past.begin(slot, nodeId)
  const source = new Source({ subscription, zmq, gate, index, onChange: sendReport })
  try {
    await source.open()
  } catch (error) {
    await source.close()
    return `${endpoint}: ${error instanceof Error ? error.message : String(error)}`
  }
  sources.set(slot, source)
  return null
}

async function unsubscribe(slot: number): Promise<void> {
  const source = sources.get(slot)
  sources.delete(slot)
  if (source === undefined) return
  await source.close()
  past.ended(slot, source.report().counters)
}

function reports(): SourceReport[] {
  return [...sources.values()].map(source => withPast(source.report()))
}

async function run(command: FeedCommand): Promise<void> {
  const { id } = command
  switch (command.kind) {
    case 'subscribe':
      send({ kind: 'done', id, failure: await subscribe(command.subscription) })
      break
    case 'unsubscribe':
      await unsubscribe(command.slot)
      send({ kind: 'done', id, failure: null })
      break
    case 'clear':
      sources.get(command.slot)?.clear()
      send({ kind: 'done', id, failure: null })
      break
    case 'reports':
      send({ kind: 'reports', id, reports: reports() })
      break
    case 'close':
      await Promise.all([...sources.keys()].map(unsubscribe))
      // Nothing holds the thread any more: it ends by itself.
      port.close()
  }
}

// What fails here is a defect: the rejection ends the thread, and the main thread hears of it.
port.on('message', (command: FeedCommand) => void run(command))
