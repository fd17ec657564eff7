/**
 * Prompt keys: what a body costs the gateway thread, and what tokens cost the prompt pool.
 *
 *   seam        one native call that scans `{}`
 *   text        body → spans → keys by text, 200 B and 32 kB, as for a model without a tokenizer
 *   memo        the same body for a model with a tokenizer, keys known
 *   cold, warm  a chat of 100,000 tokens through the pool, then the same one with one more turn
 *
 * `--tokenizer DIR` uses a model's own tokenizer; without it the toy one, which is faster than
 * any real one. It cannot show what many threads do at once. Losing case: a prompt that is never
 * seen twice pays "cold" in full.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { OperatingError } from '../src/errors.ts'
import { chainKeys, chainRoot } from '../src/native/chain_hash.ts'
import { MEMBERS_MAX, SPAN_WORDS, scanJson } from '../src/native/json_scan.ts'
import { type RequestBody, readBody } from '../src/prompt/body.ts'
import { PromptKeyer, type PromptKeys, type PromptTarget } from '../src/prompt/keyer.ts'
import { PiscinaPool } from '../src/prompt/piscina_pool.ts'
import { type BenchOptions, type BenchResult, option } from './options.ts'

const WORDS = [
  'the',
  'gateway',
  'sends',
  'each',
  'request',
  'to',
  'a',
  'node',
  'that',
  'holds',
  'it',
]
const MIB = 1024 * 1024

function chatBody(texts: readonly string[]): Buffer {
  const messages = texts.map((content, at) => ({
    role: at % 2 === 0 ? 'user' : 'assistant',
    content,
  }))
  return Buffer.from(JSON.stringify({ model: 'bench', stream: true, max_tokens: 64, messages }))
}

function textOf(bytes: number, seed: number): string {
  let text = `${seed} `
  for (let n = 0; text.length < bytes; n++) text += `${WORDS[(n * n + seed) % WORDS.length]} `
  return text.slice(0, bytes)
}

function read(bytes: Buffer): RequestBody {
  const body = readBody(bytes)
  if (body instanceof OperatingError) throw body
  return body
}

/** Nanoseconds of one call: the fastest of some rounds, since a busy machine only adds. */
function fastestNs(calls: number, call: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let nth = 0; nth < 5; nth++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < calls; i++) call()
    best = Math.min(best, Number(process.hrtime.bigint() - start) / calls)
  }
  return best
}

const TARGET: PromptTarget = {
  baseModel: 'bench',
  adapter: '',
  salt: '',
  tokenizer: null,
  indexId: 0,
  blockSize: 16,
}

function newKeyer(pool: PiscinaPool | null): PromptKeyer {
  return new PromptKeyer({
    chainRoot,
    chainKeys,
    match: null,
    pool,
    meter: {
      source: () => {},
      fallback: reason => {
        throw new Error(`a prompt was keyed by text: ${reason}`)
      },
    },
    memoBytesMax: 64 * MIB,
    waitMsMax: 600_000,
    setTimer: (fire, ms) => {
      const timer = setTimeout(fire, ms)
      return () => clearTimeout(timer)
    },
  })
}

function keysOf(keyer: PromptKeyer, bytes: Buffer, target: PromptTarget): Promise<PromptKeys> {
  return new Promise(resolve => {
    keyer.keys(read(bytes), 'chat', target, 0, resolve)
  })
}

function gatewayFigures(calls: number): BenchResult {
  const spans = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)
  const keyer = newKeyer(null)
  const empty = Buffer.from('{}')
  const small = chatBody([textOf(200 - chatBody(['']).length, 1)])
  const large = chatBody([textOf(32_768, 1)])
  const huge = chatBody([textOf(MIB, 1)])
  const key = (bytes: Buffer): void => {
    keyer.keys(read(bytes), 'chat', TARGET, 0, () => {})
  }
  return {
    seamNs: Math.round(fastestNs(calls * 10, () => scanJson(empty, spans))),
    scanGbPerSecond: rounded(huge.length / fastestNs(calls / 100, () => scanJson(huge, spans))),
    scanSmallUs: rounded(fastestNs(calls, () => scanJson(small, spans)) / 1000),
    text200BUs: rounded(fastestNs(calls, () => key(small)) / 1000),
    text32KbUs: rounded(fastestNs(calls / 10, () => key(large)) / 1000),
  }
}

async function poolFigures(tokenizer: string, bytes: number, calls: number): Promise<BenchResult> {
  const pool = new PiscinaPool({
    threadsMax: 1,
    idleMsMax: 60_000,
    queueItemsMax: 64,
    queueBytesMax: 256 * MIB,
    memoBytesMax: 256 * MIB,
    log: line => process.stderr.write(`${line}\n`),
  })
  const keyer = newKeyer(pool)
  const target = { ...TARGET, tokenizer }
  await keysOf(keyer, chatBody(['load']), target)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const cold: number[] = []
  const warm: number[] = []
  let tokens = 0
  delay.enable()
  for (let round = 0; round < 5; round++) {
    const texts = Array.from({ length: 9 }, (_, turn) => textOf(bytes / 9, round * 9 + turn))
    const start = performance.now()
    const keys = await keysOf(keyer, chatBody(texts), target)
    const middle = performance.now()
    await keysOf(keyer, chatBody([...texts, 'I see.', textOf(400, round)]), target)
    tokens = keys.promptTokens
    cold.push(middle - start)
    warm.push(performance.now() - middle)
  }
  delay.disable()
  const known = chatBody(Array.from({ length: 9 }, (_, turn) => textOf(bytes / 9, turn)))
  const short = chatBody([textOf(60, 3)])
  await keysOf(keyer, short, target)
  const hit = (body: Buffer): void => {
    keyer.keys(read(body), 'chat', target, 0, () => {})
  }
  const figures = {
    tokenizer: tokenizer === 'toy' ? 'toy' : 'own',
    promptTokens: tokens,
    coldMs: rounded(Math.min(...cold)),
    coldTokensPerSecond: Math.round((tokens / Math.min(...cold)) * 1000),
    warmTurnMs: rounded(Math.min(...warm)),
    memoShortUs: rounded(fastestNs(calls, () => hit(short)) / 1000),
    memoLongUs: rounded(fastestNs(Math.ceil(calls / 100), () => hit(known)) / 1000),
    loopDelayP99Ms: rounded(delay.percentile(99) / 1e6),
  }
  await pool.close()
  return figures
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const tokenizer = option(options.words, 'tokenizer') ?? 'toy'
  const calls = options.isQuick ? 200 : 20_000
  const bytes = options.isQuick ? 20_000 : 450_000
  return { ...gatewayFigures(calls), ...(await poolFigures(tokenizer, bytes, calls)) }
}
