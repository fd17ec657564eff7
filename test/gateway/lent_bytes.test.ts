/**
 * All sockets to nodes are read into one buffer, and what a read brought is lent down to the
 * client's socket. Here the reads of many replies come between each other, in pieces of any size:
 * whoever keeps what he was lent shows another's bytes.
 */
import { createServer, type ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { until } from './gateway.ts'
import { answerPlainly, useGatewayBefore } from './plain_node.ts'
import { eventData, openSocket } from './socket_client.ts'

const EVENTS = 60
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWX'

interface Asked {
  readonly stream?: boolean
  readonly messages: readonly { readonly content: string }[]
}

function chunkOf(letter: string, at: number): string {
  return JSON.stringify({
    at,
    choices: [{ delta: { content: letter.repeat(40 + (at % 7) * 60) } }],
  })
}

/** Data of the events of a stream. */
function streamOf(letter: string): string[] {
  const chunks = Array.from({ length: EVENTS }, (_, at) => chunkOf(letter, at))
  const details = { cached_tokens: letter.charCodeAt(0) }
  const usage = { prompt_tokens: 100, completion_tokens: EVENTS, prompt_tokens_details: details }
  return [...chunks, JSON.stringify({ choices: [], usage }), '[DONE]']
}

function bodyOf(letter: string): string {
  return JSON.stringify({ text: letter.repeat(3000) })
}

/** Writes in two pieces a text, cut where its turn says so, in turns of the loop of their own. */
async function write(response: ServerResponse, texts: readonly string[]): Promise<void> {
  for (const [turn, text] of texts.entries()) {
    const cut = (turn * 37) % (text.length + 1)
    for (const piece of [text.slice(0, cut), text.slice(cut)]) {
      if (piece !== '') response.write(piece)
      await new Promise(setImmediate)
    }
  }
  response.end()
}

function answer({ stream, messages: [message] }: Asked, response: ServerResponse): void {
  const [kind, letter = ''] = (message?.content ?? '').split(' ')
  const events = streamOf(letter).map(data => `data: ${data}\n\n`)
  const body = bodyOf(letter)
  if (stream === true) response.setHeader('content-type', 'text/event-stream')
  else response.setHeader('content-type', 'application/json')
  if (kind === 'sized') response.setHeader('content-length', body.length)
  if (kind === 'refused') response.statusCode = 500
  const half = body.length / 2
  void write(response, stream === true ? events : [body.slice(0, half), body.slice(half)])
}

const node = createServer((request, response) => {
  if (request.method !== 'POST') return answerPlainly(request, response)
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  // The body is what the gateway relays from `ask`.
  request.on('end', () => answer(JSON.parse(Buffer.concat(pieces).toString()) as Asked, response))
})
const gateway = useGatewayBefore(node)

function asking(kind: string, letter: string, stream: boolean): object {
  return { model: 'm', stream, messages: [{ role: 'user', content: `${kind} ${letter}` }] }
}

async function post(kind: string, letter: string, stream: boolean): Promise<string> {
  const reply = await fetch(`http://127.0.0.1:${gateway.port}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asking(kind, letter, stream)),
  })
  return reply.text()
}

async function readStream(letter: string): Promise<void> {
  expect(eventData(await post('stream', letter, true))).toEqual(streamOf(letter))
}

async function readBody(kind: string, letter: string): Promise<void> {
  expect(await post(kind, letter, false)).toBe(bodyOf(letter))
}

/** One lane, which sends at once, or several, which wait for each other. */
async function readLanes(letters: string): Promise<void> {
  const client = await openSocket(`http://127.0.0.1:${gateway.port}/v1/chat/completions`)
  const isAlone = letters.length === 1
  for (const letter of letters) {
    const lane = isAlone ? {} : { stream_id: letter }
    client.ask({ ...asking('lane', letter, true), ...lane })
  }
  const count = (EVENTS + 2) * letters.length
  await until(() => client.texts.length === count, `${count} messages`)
  for (const letter of letters) {
    const [done, ...chunks] = streamOf(letter).toReversed()
    const lane = isAlone ? {} : { stream_id: letter }
    const wanted = chunks.toReversed().map(data => ({ ...lane, ...(JSON.parse(data) as object) }))
    const said = client.lane(isAlone ? null : letter).filter(({ type }) => type === undefined)
    expect(said).toEqual(wanted)
    if (isAlone) expect(client.texts.at(-1)).toBe(done)
  }
  await client.close()
}

test('the counts of each stream are read off its own end', async () => {
  const letters = LETTERS.split('')
  await Promise.all(letters.map(letter => post('stream', letter, true)))
  const lines = await until(() => {
    const ended = gateway.exchanges()
    return ended.length === letters.length ? ended : null
  }, 'the log lines')
  const counts = lines.map(line => Number(line['reported_cached'])).toSorted((a, b) => a - b)
  expect(counts).toEqual(letters.map(letter => letter.charCodeAt(0)))
})

test('every reader gets its own bytes, however the reads come between each other', async () => {
  const work: Promise<void>[] = []
  for (const letter of LETTERS) {
    work.push(readStream(letter), readLanes(letter))
    for (const kind of ['sized', 'chunked', 'refused']) work.push(readBody(kind, letter))
  }
  work.push(readLanes('ABCD'), readLanes('EFGHIJ'))
  await Promise.all(work)
})
