import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ExchangeLine, logExchange } from '../../src/observe/exchange_log.ts'
import { LOG_FIELD_CHARS_MAX, logText, openLog } from '../../src/observe/log.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'warmpath-log-'))
})
afterEach(() => rm(folder, { recursive: true }))

const LINE: ExchangeLine = {
  id: 'r1',
  tenant: 'open',
  endpoint: 'chat',
  model: 'm',
  log: null,
  node: 'a:1',
  rank: 0,
  status: 200,
  reason: 'complete',
  stream: true,
  prompt_tokens: 10,
  predicted_cached: 0,
  index_cached: 0,
  reported_cached: null,
  ttft_ms: 1.5,
  total_ms: 9,
  queue_ms: 0,
  overhead_ms: 0.2,
  retries: 0,
  request_bytes: 100,
  response_bytes: 1000,
  events: 5,
}

function linesOf(file: string): Record<string, unknown>[] {
  const text = readFileSync(file, 'utf8')
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}

test('an exchange leaves one line with its level, time and thread', async () => {
  const file = path.join(folder, 'log')
  const log = openLog({
    config: { level: 'info', destination: file },
    thread: 'gateway-0',
    isBatched: true,
  })
  logExchange(log, LINE)
  log.debug({}, 'not written at level info')
  await log.flush()
  const [line, ...others] = linesOf(file)
  expect(others).toEqual([])
  expect(line).toMatchObject({ ...LINE, level: 'info', thread: 'gateway-0', msg: 'exchange' })
  expect(Date.parse(String(line?.time))).not.toBeNaN()
})

test('the line of an exchange is what pino would have written', async () => {
  const file = path.join(folder, 'log')
  const config = { level: 'info', destination: file } as const
  const log = openLog({ config, thread: 'a"b', isBatched: false })
  const lines: ExchangeLine[] = [
    LINE,
    { ...LINE, client_id: '"\\', model: 'a"b\\c', node: null, rank: null, ttft_ms: null },
    {
      ...LINE,
      log: '17.3',
      prompt_tokens: null,
      total_ms: 86_400_000.25,
      overhead_ms: 0.07,
      stream: false,
    },
  ]
  for (const line of lines) {
    logExchange(log, line)
    log.info(line, 'exchange')
  }
  log.setLevel('warn')
  logExchange(log, LINE)
  await log.flush()
  const written = linesOf(file)
  expect(written).toHaveLength(6)
  for (const [index, line] of lines.entries()) {
    const [byHand, byPino] = written.slice(index * 2)
    expect(Object.keys(byHand ?? {}).toSorted()).toEqual(Object.keys(byPino ?? {}).toSorted())
    expect({ ...byHand, time: 0 }).toEqual({ ...byPino, time: 0 })
    expect(byHand).toMatchObject(line)
    expect(new Date(String(byHand?.time)).toISOString()).toBe(byHand?.time)
  }
})

test('the level can be changed while it runs', async () => {
  const file = path.join(folder, 'log')
  const config = { level: 'error', destination: file } as const
  const log = openLog({ config, thread: 'main', isBatched: false })
  log.info({}, 'quiet')
  log.setLevel('debug')
  log.debug({}, 'heard')
  await log.flush()
  expect(log.level).toBe('debug')
  expect(linesOf(file).map(line => line.msg)).toEqual(['heard'])
})

test('lines of several threads are never mixed', async () => {
  const file = path.join(folder, 'log')
  const observed = path.resolve('dist-tools/src/observe/log.js')
  const source = `
    const { workerData } = require('node:worker_threads')
    import(workerData.module).then(async ({ openLog }) => {
      const config = { level: 'info', destination: workerData.file }
      const log = openLog({ config, thread: workerData.thread, isBatched: true })
      for (let n = 0; n < 2000; n += 1) log.info({ n, pad: 'x'.repeat(n % 1500) }, 'line')
      await log.flush()
    })`
  const ends = ['a', 'b', 'c'].map(thread => {
    const workerData = { module: observed, file, thread }
    const worker = new Worker(source, { eval: true, workerData })
    return new Promise((resolve, reject) => {
      worker.once('exit', resolve)
      worker.once('error', reject)
    })
  })
  await Promise.all(ends)
  const lines = linesOf(file)
  for (const thread of ['a', 'b', 'c']) {
    const numbers = lines.filter(line => line.thread === thread).map(line => line.n)
    expect(numbers).toEqual(Array.from({ length: 2000 }, (_, n) => n))
  }
})

test('text from outside is cut and made printable', () => {
  expect(logText('model/name-1')).toBe('model/name-1')
  expect(logText('a\nb\u0000ü')).toBe('a?b??')
  expect(logText('x'.repeat(10_000))).toHaveLength(LOG_FIELD_CHARS_MAX)
})
