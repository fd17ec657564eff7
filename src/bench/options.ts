/**
 * Arguments of `warmpath bench`. A wrong one is a `UsageError` whose message names the flag and
 * what it takes; nothing is sent before all are right.
 */
import { parseArgs } from 'node:util'

export const USAGE = `usage: warmpath bench --url URL [options]

Drives any OpenAI-compatible endpoint and prints a table and then one line of JSON.

  --url URL              address of the endpoint, with or without /v1
  --model NAME           model to ask for (default: the first of /v1/models)
  --api-key KEY          of the endpoint (bearer token)
  --concurrency LIST     requests kept on the way at once, one run each (default 1,8,32)
  --requests N           requests of one run
  --duration SECONDS     length of one run (default 10, when --requests is not given)
  --prompt-tokens N      about so many tokens a prompt (default 128)
  --shared-prefix N      of which so many, at the start, are the same in all (default 0)
  --max-tokens N         tokens asked for in the answer (default 64)
  --no-stream            ask for plain answers
  --completions          use /v1/completions in place of /v1/chat/completions
  --ignore-eos           ask vLLM to go on to max_tokens
  --timeout SECONDS      longest silence of the endpoint (default 120)
  --seed N               of the prompts' words (default: another each time)
`

/** Connections of one run at most: each is a socket of this process. */
const CONCURRENCY_MAX = 4096
/** Words of a prompt at most: a body of some 6 MB. */
const PROMPT_TOKENS_MAX = 1_000_000
/** Requests of one run at most: the times of each are kept until its end. */
const REQUESTS_MAX = 10_000_000
/** Longest time that a flag takes, in seconds: a day. */
const SECONDS_MAX = 86_400
const DURATION_SECONDS = 10

export class UsageError extends Error {}

export interface Settings {
  /** Origin and path in front of `/v1`, without a slash at the end. */
  readonly base: string
  readonly model: string | null
  readonly apiKey: string | null
  readonly concurrency: readonly number[]
  readonly requests: number | null
  readonly durationMs: number | null
  readonly promptTokens: number
  readonly sharedTokens: number
  readonly tokensMax: number
  readonly isStream: boolean
  readonly isChat: boolean
  readonly ignoresEos: boolean
  readonly timeoutMs: number
  readonly seed: number
}

const FLAGS = {
  url: { type: 'string' },
  model: { type: 'string' },
  'api-key': { type: 'string' },
  concurrency: { type: 'string', default: '1,8,32' },
  requests: { type: 'string' },
  duration: { type: 'string' },
  'prompt-tokens': { type: 'string', default: '128' },
  'shared-prefix': { type: 'string', default: '0' },
  'max-tokens': { type: 'string', default: '64' },
  stream: { type: 'boolean' },
  'no-stream': { type: 'boolean', default: false },
  completions: { type: 'boolean', default: false },
  'ignore-eos': { type: 'boolean', default: false },
  timeout: { type: 'string', default: '120' },
  seed: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const

function whole(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new UsageError(`--${flag} takes a whole number from ${min} to ${max}, not "${text}"`)
}

function seconds(flag: string, text: string): number {
  const value = /^\d+(\.\d+)?s?$/.test(text) ? Number(text.replace('s', '')) : Number.NaN
  if (value > 0 && value <= SECONDS_MAX) return Math.round(value * 1000)
  throw new UsageError(`--${flag} takes seconds from 0 to ${SECONDS_MAX}, not "${text}"`)
}

/** `http://host:8000/v1/` and `http://host:8000` mean the same endpoint. */
function baseOf(text: string | undefined): string {
  if (text === undefined) throw new UsageError('--url is missing: say which endpoint to drive')
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !(url.protocol === 'http:' || url.protocol === 'https:')) {
    throw new UsageError(`--url takes an http:// or https:// address, not "${text}"`)
  }
  return url.origin + url.pathname.replace(/\/+$/, '').replace(/\/v1$/, '')
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, strict: true }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

/** null: help was asked for. */
export function readSettings(argv: readonly string[]): Settings | null {
  const values = parse(argv)
  if (values.help) return null
  const { requests, duration, model } = values
  if (requests !== undefined && duration !== undefined) {
    throw new UsageError('--requests and --duration exclude each other')
  }
  if (values.stream === true && values['no-stream']) {
    throw new UsageError('--stream and --no-stream exclude each other')
  }
  const isCounted = requests !== undefined
  const promptTokens = whole('prompt-tokens', values['prompt-tokens'], 1, PROMPT_TOKENS_MAX)
  return {
    base: baseOf(values.url),
    model: model ?? null,
    apiKey: values['api-key'] ?? null,
    concurrency: values.concurrency
      .split(',')
      .map(text => whole('concurrency', text.trim(), 1, CONCURRENCY_MAX)),
    requests: isCounted ? whole('requests', requests, 1, REQUESTS_MAX) : null,
    durationMs: isCounted ? null : seconds('duration', duration ?? String(DURATION_SECONDS)),
    promptTokens,
    sharedTokens: whole('shared-prefix', values['shared-prefix'], 0, promptTokens),
    tokensMax: whole('max-tokens', values['max-tokens'], 1, PROMPT_TOKENS_MAX),
    isStream: !values['no-stream'],
    isChat: !values.completions,
    ignoresEos: values['ignore-eos'],
    timeoutMs: seconds('timeout', values.timeout),
    seed:
      values.seed === undefined
        ? Math.floor(Math.random() * 2 ** 31)
        : whole('seed', values.seed, 0, 2 ** 31),
  }
}
