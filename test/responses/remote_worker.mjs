// A thread that follows other threads' logs, for the tests; it runs on dist-tools/, since Node 20
// workers load no TypeScript. Orders come as messages, each answered by one message.
//
//   { act: 'follow', id, tenant, events, patience, seed }   follow from just after `events` events
//     -> { refused } or, at the end, { text, ends, heads, isWhole, takes }
//   { act: 'leave' }                                        detach -> { left: bytes it had }
//
// The reader says no after each `patience` pieces and is ready again some turns later; with
// patience -1 it says no for good, with 0 never.
import { parentPort } from 'node:worker_threads'
import { MAIL_WORDS, openMailbox } from '../../dist-tools/src/native/mailbox.js'
import { nativeLog } from '../../dist-tools/src/native/response_log.js'
import { LogOwner } from '../../dist-tools/src/responses/log_owner.js'

const threadId = openMailbox((words, count) => {
  for (let i = 0; i < count * MAIL_WORDS; i += MAIL_WORDS) {
    owner.onMail(words[i], words[i + 1], words[i + 2], words[i + 3])
  }
}, true)
const owner = new LogOwner(threadId)
let following = null

function makeReader({ patience, seed }, done) {
  let text = ''
  let takes = 0
  let state = seed
  let isWhole = true
  const heads = []
  const turns = count => (count === 0 ? following.ready() : setImmediate(turns, count - 1))
  return {
    onHead: head => heads.push(head),
    onBytes(chunk, wholeEnd) {
      const piece = Buffer.from(chunk).toString('latin1')
      isWhole &&= wholeEnd === piece.lastIndexOf('\n\n') + 2 || !piece.includes('\n\n')
      text += piece
      takes++
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      if (patience === 0 || takes % patience !== 0) return true
      if (patience > 0) setImmediate(turns, (state >>> 16) % 4)
      return false
    },
    onEnd: end => done({ text, ends: [end], heads, isWhole, takes }),
    get size() {
      return text.length
    },
  }
}

parentPort.on('message', order => {
  if (order.act === 'leave') {
    following.detach()
    parentPort.postMessage({ left: true })
    return
  }
  const name = owner.find(order.tenant, order.id)
  if (name === null) {
    parentPort.postMessage({ refused: 'unknown' })
    return
  }
  const position = nativeLog.logPositionAfter(name.slot, name.generation, order.events)
  const reader = makeReader(order, result => parentPort.postMessage(result))
  // An end may come within follow, before `following` is set: the reader then needs no ready.
  const got = owner.follow(name, order.tenant, reader, Math.max(0, position))
  if (typeof got === 'string') parentPort.postMessage({ refused: got })
  else {
    following = got
    parentPort.postMessage({ attached: true })
  }
})
parentPort.postMessage({ threadId })
