import { beforeEach, describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/errors.ts'
import { type RequestBody, readBody } from '../../src/prompt/body.ts'
import {
  type FallbackReason,
  type KeyerOptions,
  PromptKeyer,
  type PromptKeys,
  type PromptKind,
  type PromptSource,
  type PromptTarget,
  TEXT_CHUNK_BYTES,
  TEXT_KEYS_MAX,
} from '../../src/prompt/keyer.ts'
import type { TokenOutcome, TokenTask } from '../../src/prompt/token_pool.ts'
import { fakeKeys, fakeRoot } from './fake_natives.ts'

interface Submitted {
  isGivenUp: boolean
  readonly task: TokenTask
  readonly done: (outcome: TokenOutcome) => void
}

let submitted: Submitted[]
let timers: (() => void)[]
let sources: PromptSource[]
let fallbacks: FallbackReason[]
let poolRoom: number

beforeEach(() => {
  submitted = []
  timers = []
  sources = []
  fallbacks = []
  poolRoom = 10
})

const TEXT: PromptTarget = {
  baseModel: 'm',
  adapter: '',
  salt: '',
  tokenizer: null,
  indexId: 3,
  blockSize: 4,
}
const EXACT: PromptTarget = { ...TEXT, tokenizer: 'toy' }
const HELLO = { messages: [{ role: 'user', content: 'hello '.repeat(40) }] }

function keyer(more: Partial<KeyerOptions> = {}): PromptKeyer {
  return new PromptKeyer({
    chainRoot: fakeRoot,
    chainKeys: fakeKeys,
    match: null,
    pool: {
      submit(task, done) {
        if (submitted.length >= poolRoom) return null
        const own: Submitted = { task, done, isGivenUp: false }
        submitted.push(own)
        return () => {
          own.isGivenUp = true
        }
      },
      close: () => Promise.resolve(),
    },
    meter: { source: s => sources.push(s), fallback: r => fallbacks.push(r) },
    memoBytesMax: 100_000,
    waitMsMax: 1000,
    setTimer(run) {
      timers.push(run)
      return () => timers.splice(timers.indexOf(run), 1)
    },
    ...more,
  })
}

function read(value: object): RequestBody {
  const body = readBody(Buffer.from(JSON.stringify(value)))
  if (body instanceof OperatingError) throw body
  return body
}

function ask(
  on: PromptKeyer,
  value: object,
  target: PromptTarget = TEXT,
  kind: PromptKind = 'chat',
): { answers: PromptKeys[]; cancel: () => void } {
  const answers: PromptKeys[] = []
  const cancel = on.keys(read(value), kind, target, 0, keys => answers.push(keys))
  return { answers, cancel }
}

function only(answers: readonly PromptKeys[]): PromptKeys {
  const [answer] = answers
  if (answer === undefined || answers.length > 1) throw new Error(`${answers.length} answers`)
  return answer
}

function chatNumber(n: number): object {
  return { messages: [{ role: 'user', content: `${n}` }] }
}

const CHAIN = {
  exact: true,
  isLasting: true,
  isVerifiable: true,
  promptTokens: 9,
  blockSize: 4,
  keys: BigUint64Array.of(11n, 12n),
}

describe('a prompt without a tokenizer', () => {
  it('is keyed by its text at once', () => {
    const { answers } = ask(keyer(), HELLO)
    const keys = only(answers)
    const bytes = Buffer.byteLength(
      `0"messages":[{"role":"user","content":"${'hello '.repeat(40)}"}`,
    )
    expect(keys.exact).toBe(false)
    expect(keys.count).toBe(Math.floor(bytes / TEXT_CHUNK_BYTES))
    expect([keys.blockSize, keys.promptTokens]).toEqual([16, Math.ceil(bytes / 4)])
    expect(sources).toEqual(['text'])
  })

  it('shares keys with its next turn, and none with another model, adapter, salt or kind', () => {
    const on = keyer()
    const keys = [...only(ask(on, HELLO).answers).keys]
    const next = { messages: [...HELLO.messages, { role: 'assistant', content: 'hi' }] }
    expect([...only(ask(on, next).answers).keys].slice(0, keys.length)).toEqual(keys)
    for (const more of [{ baseModel: 'x' }, { adapter: 'x' }, { salt: 'x' }]) {
      expect([...only(ask(on, HELLO, { ...TEXT, ...more }).answers).keys]).not.toContain(keys[0])
    }
    expect([...only(ask(on, HELLO, TEXT, 'messages').answers).keys]).not.toContain(keys[0])
    expect([...only(ask(on, HELLO).answers).keys]).toEqual(keys)
  })

  it('never looks into an index, which holds keys of tokens', () => {
    const asked: number[] = []
    const on = keyer({
      match: (indexId, keys, count, _now, slots, depths, indexDepths) => {
        asked.push(indexId, count)
        slots[0] = 7
        depths[0] = keys.length
        indexDepths[0] = 1
        return 1
      },
    })
    const keys = only(ask(on, HELLO).answers)
    expect(asked).toEqual([0, keys.count])
    expect([keys.matched, keys.slots[0], keys.depths[0]]).toEqual([1, 7, keys.count])
  })

  it('is matched as far as the limit of keys', () => {
    const long = { prompt: 'x'.repeat((TEXT_KEYS_MAX + 10) * TEXT_CHUNK_BYTES) }
    expect(only(ask(keyer(), long, TEXT, 'completion').answers).count).toBe(TEXT_KEYS_MAX)
  })
})

describe('a prompt of token ids', () => {
  const prompt = [5, 6, 7, 8, 9, 10, 11, 12, 13]

  it('is keyed exactly without any tokenizer', () => {
    const keys = only(ask(keyer(), { prompt }, TEXT, 'completion').answers)
    expect([keys.exact, keys.isVerifiable, keys.count, keys.promptTokens]).toEqual([
      true,
      true,
      2,
      9,
    ])
    const other = only(ask(keyer(), { prompt: prompt.toReversed() }, TEXT, 'completion').answers)
    expect(other.keys[0]).not.toBe(keys.keys[0])
    expect(sources).toEqual(['tokens', 'tokens'])
  })

  it('is keyed by its first sequence when there are several, and not compared', () => {
    const keys = only(ask(keyer(), { prompt: [prompt, [1]] }, TEXT, 'completion').answers)
    expect([keys.exact, keys.isVerifiable, keys.count]).toEqual([true, false, 2])
    // The node computes both (LA-04).
    expect(keys.promptTokens).toBe(10)
    expect([...keys.keys]).toEqual([
      ...only(ask(keyer(), { prompt }, TEXT, 'completion').answers).keys,
    ])
  })

  it('is keyed by text when it is cut by the node or is no list of ids', () => {
    for (const value of [
      { prompt, truncate_prompt_tokens: 3 },
      { prompt: [1, 2.5] },
      { prompt: [] },
    ]) {
      expect(only(ask(keyer(), value, TEXT, 'completion').answers).exact).toBe(false)
    }
    expect(only(ask(keyer(), { input: prompt }, TEXT, 'embedding').answers).exact).toBe(true)
  })
})

describe('a prompt with a tokenizer', () => {
  it('is keyed by the pool later, and from memory when it comes again', () => {
    const on = keyer()
    const { answers } = ask(on, HELLO, EXACT)
    expect(answers).toEqual([])
    expect(submitted[0]?.task).toMatchObject({ kind: 'chat', tokenizer: 'toy', blockSize: 4 })
    submitted[0]?.done(CHAIN)
    expect(only(answers)).toMatchObject({ exact: true, promptTokens: 9, count: 2 })
    const again = ask(on, { ...HELLO, temperature: 0.3, stream: true }, EXACT)
    expect(only(again.answers).keys).toEqual(CHAIN.keys)
    expect(sources).toEqual(['pool', 'memo'])
    expect(timers).toEqual([])
    on.clear()
    expect(ask(on, HELLO, EXACT).answers).toEqual([])
  })

  it('is not remembered when its template reads the clock', () => {
    const on = keyer()
    ask(on, HELLO, EXACT)
    submitted[0]?.done({ ...CHAIN, isLasting: false })
    expect(ask(on, HELLO, EXACT).answers).toEqual([])
  })

  it('is not confused with one that differs in a salt, an adapter or an option', () => {
    const on = keyer()
    ask(on, HELLO, EXACT)
    submitted[0]?.done(CHAIN)
    for (const more of [{ salt: 's' }, { adapter: 'a' }, { blockSize: 8 }, { baseModel: 'x' }]) {
      expect(ask(on, HELLO, { ...EXACT, ...more }).answers).toEqual([])
    }
    expect(ask(on, { ...HELLO, add_generation_prompt: false }, EXACT).answers).toEqual([])
  })

  it('shares one task with equal prompts that are waiting', () => {
    const on = keyer()
    const first = ask(on, HELLO, EXACT)
    const second = ask(on, HELLO, EXACT)
    first.cancel()
    expect(submitted).toHaveLength(1)
    submitted[0]?.done(CHAIN)
    expect([first.answers.length, second.answers.length]).toEqual([0, 1])
    expect(timers).toEqual([])
  })

  it('is given up with the last who waits for it, and may be asked for again', () => {
    const on = keyer()
    const first = ask(on, HELLO, EXACT)
    const second = ask(on, HELLO, EXACT)
    first.cancel()
    expect(submitted[0]?.isGivenUp).toBe(false)
    second.cancel()
    expect(submitted[0]?.isGivenUp).toBe(true)
    const third = ask(on, HELLO, EXACT)
    expect(submitted).toHaveLength(2)
    // The one given up is over; it takes nothing away from the other.
    submitted[0]?.done('error')
    ask(on, HELLO, EXACT)
    expect(submitted).toHaveLength(2)
    submitted[1]?.done(CHAIN)
    expect([first.answers.length, second.answers.length, third.answers.length]).toEqual([0, 0, 1])
  })

  it('is keyed by text when the queue is full, and when the pool fails in any way', () => {
    poolRoom = 1
    const on = keyer()
    const first = ask(on, HELLO, EXACT)
    const other = ask(on, { messages: ['other'] }, EXACT)
    expect(only(other.answers).exact).toBe(false)
    submitted[0]?.done('error')
    expect(only(first.answers).exact).toBe(false)
    expect(fallbacks).toEqual(['queue_full', 'error'])
  })

  it('is keyed by text when its tokens take too long, once', () => {
    const on = keyer()
    const { answers } = ask(on, HELLO, EXACT)
    timers[0]?.()
    expect(only(answers).exact).toBe(false)
    expect(fallbacks).toEqual(['timeout'])
    submitted[0]?.done(CHAIN)
    expect(answers).toHaveLength(1)
    // What came too late still serves the next one.
    expect(only(ask(on, HELLO, EXACT).answers).exact).toBe(true)
  })

  it('is keyed by text when only the node can know its tokens', () => {
    for (const more of [{ chat_template: 'x' }, { truncate_prompt_tokens: 5 }]) {
      expect(only(ask(keyer(), { ...HELLO, ...more }, EXACT).answers).exact).toBe(false)
    }
    expect(fallbacks).toEqual(['template', 'template'])
    expect(submitted).toEqual([])
  })

  it('matches nothing when the node must compute the whole prompt', () => {
    const on = keyer({ match: () => 1 })
    expect(only(ask(on, HELLO).answers).matched).toBe(1)
    for (const more of [{ prompt_logprobs: 0 }, { echo: true }]) {
      expect(only(ask(on, { ...HELLO, ...more }).answers).matched).toBe(0)
    }
    const text = { prompt: 'x'.repeat(99), echo: true }
    expect(only(ask(on, text, TEXT, 'completion').answers).matched).toBe(1)
    expect(only(ask(on, { ...text, logprobs: 1 }, TEXT, 'completion').answers).matched).toBe(0)
  })

  it('forgets the oldest keys first when the bytes are spent', () => {
    const on = keyer({ memoBytesMax: 1000 })
    for (let n = 0; n < 4; n++) {
      ask(on, chatNumber(n), EXACT)
      submitted[n]?.done(CHAIN)
    }
    expect(ask(on, chatNumber(3), EXACT).answers).toHaveLength(1)
    expect(ask(on, chatNumber(2), EXACT).answers).toHaveLength(1)
    expect(ask(on, chatNumber(0), EXACT).answers).toHaveLength(0)
  })
})
