/**
 * Requests of many kinds, seeded: chats and completions, streamed and not, growing conversations,
 * token arrays, exact multiples of the block size, tools, salts, other scripts. Half of them begin
 * like an earlier one of the round, so that there is something to find in the caches.
 */
import { type Answer, type Ask, FIXED } from './ask.ts'
import type { Engine } from './engine.ts'
import type { Prompts } from './prompts.ts'

type Message = Readonly<Record<string, unknown>>

interface Conversation {
  readonly name: string
  messages: Message[]
  readonly tools: readonly unknown[] | null
  readonly salt: string | null
}

/** Tokens of the longest prompt: what an engine of the suite takes, less room for the answer. */
const PROMPT_TOKENS_MAX = 1500

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'

export class Variety {
  readonly #prompts: Prompts
  readonly #model: string
  readonly #blockSize: number
  readonly #engine: Engine | undefined
  readonly #counts = new Map<string, number>()
  #conversations: Conversation[] = []
  #arrays: number[][] = []
  #texts: string[] = []
  #asked: Ask[] = []
  #running: Conversation | null = null
  readonly #makers: readonly (() => Ask | Promise<Ask>)[]

  constructor(prompts: Prompts, model: string, blockSize: number, engine: Engine | undefined) {
    this.#prompts = prompts
    this.#model = model
    this.#blockSize = blockSize
    this.#engine = engine
    this.#makers = [
      () => this.#newConversation(),
      () => this.#nextTurn(),
      () => this.#nextTurn(),
      () => this.#nextTurn(),
      () => this.#tokenArray(),
      () => this.#tokenArray(),
      () => this.#text(),
      () => this.#again(),
      () => this.#salted(),
      () => this.#oddChat(),
      () => this.#exactChat(),
      () => this.#skipping(),
      () => this.#otherApi(),
    ]
  }

  /** The caches were emptied: earlier prompts are of no use any more. */
  startRound(): void {
    this.#conversations = []
    this.#arrays = []
    this.#texts = []
    this.#asked = []
  }

  async next(): Promise<Ask> {
    this.#running = null
    const ask = await this.#prompts.pick(this.#makers)()
    this.#counts.set(ask.what, (this.#counts.get(ask.what) ?? 0) + 1)
    const isPlain = !('prompt_logprobs' in ask.body) && ask.tokens === undefined
    if (isPlain) this.#asked.push(ask)
    return ask
  }

  /** A turn of a conversation goes on with the engine's own words. */
  answered(answer: Answer): void {
    const running = this.#running
    if (running === null) return
    running.messages = [...running.messages, { role: 'assistant', content: answer.text }]
    if (answer.prompt.length <= PROMPT_TOKENS_MAX / 2) return
    this.#conversations = this.#conversations.filter(other => other !== running)
  }

  kinds(): string {
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1))
    return counts.map(([what, count]) => `${what} ${count}`).join(', ')
  }

  #ask(what: string, path: string, body: Message, salt: string | null = null): Ask {
    const isStream = this.#prompts.below(2) === 1
    const max = this.#prompts.pick([1, 2, 8, 17, 33, 40])
    const streamed = isStream ? { stream: true, stream_options: { include_usage: true } } : {}
    return {
      what: `${what}${isStream ? ' streamed' : ''}`,
      path,
      body: {
        model: this.#model,
        ...body,
        max_tokens: max,
        ...FIXED,
        ...streamed,
        ...(salt === null ? {} : { cache_salt: salt }),
      },
      ...(salt === null ? {} : { salt }),
    }
  }

  #newConversation(): Ask {
    const prompts = this.#prompts
    const system = prompts.pick([null, prompts.text(60), this.#sharedSystem()])
    const conversation: Conversation = {
      name: 'chat',
      messages: system === null ? [] : [{ role: 'system', content: system }],
      tools: prompts.below(4) === 0 ? toolsOf(prompts) : null,
      salt: prompts.below(5) === 0 ? prompts.name('salt') : null,
    }
    this.#conversations.push(conversation)
    return this.#turnOf(conversation)
  }

  /** One system prompt a round, which several conversations share. */
  #sharedSystem(): string {
    this.#texts[0] ??= this.#prompts.text(90)
    return this.#texts[0]
  }

  #nextTurn(): Ask {
    if (this.#conversations.length === 0) return this.#newConversation()
    return this.#turnOf(this.#prompts.pick(this.#conversations))
  }

  #turnOf(conversation: Conversation): Ask {
    const prompts = this.#prompts
    const words = prompts.below(50) + 2
    const content = prompts.below(3) ? prompts.text(words) : prompts.foreignText(words)
    conversation.messages = [...conversation.messages, { role: 'user', content }]
    this.#running = conversation
    const { messages, tools, salt } = conversation
    const isFirst = messages.every(message => message.role !== 'assistant')
    const name = `${tools === null ? '' : 'tools '}${isFirst ? 'first turn' : 'later turn'}`
    const body = { messages, ...(tools === null ? {} : { tools, tool_choice: 'none' }) }
    return this.#ask(name, CHAT, body, salt)
  }

  #tokenArray(): Ask {
    const prompts = this.#prompts
    const isExact = prompts.below(2) === 0
    const length = isExact
      ? this.#blockSize * (prompts.below(9) + 1)
      : prompts.below(300) + this.#blockSize
    const shared = this.#arrays.length > 0 && prompts.below(2) ? prompts.pick(this.#arrays) : []
    const kept = shared.slice(0, Math.min(length, prompts.below(shared.length + 1)))
    const tokens = [...kept, ...prompts.tokens(length - kept.length)]
    this.#arrays.push(tokens)
    const isNested = prompts.below(4) === 0
    const what = `${isExact ? 'whole blocks of' : ''} ids${isNested ? ' nested' : ''}`.trim()
    return this.#ask(what, COMPLETIONS, { prompt: isNested ? [tokens] : tokens })
  }

  #text(): Ask {
    const prompts = this.#prompts
    const texts = this.#texts.slice(1)
    const head = texts.length > 0 && prompts.below(2) ? prompts.pick(texts) : ''
    const text = head + prompts.foreignText(prompts.below(80) + 10)
    this.#sharedSystem()
    this.#texts.push(text)
    return this.#ask('text', COMPLETIONS, { prompt: text })
  }

  /** Byte for byte what was asked before, with another length of the answer. */
  #again(): Ask {
    if (this.#asked.length === 0) return this.#text()
    const { body, path, salt } = this.#prompts.pick(this.#asked)
    return this.#ask('the same again', path, promptOf(body), salt ?? null)
  }

  /** An earlier prompt under another salt: nothing of it may be found. */
  #salted(): Ask {
    if (this.#asked.length === 0) return this.#text()
    const { body, path } = this.#prompts.pick(this.#asked)
    return this.#ask('another salt', path, promptOf(body), this.#prompts.name('salt'))
  }

  /** Chats that templates treat in ways of their own. */
  #oddChat(): Ask {
    const prompts = this.#prompts
    const system = { role: 'system', content: this.#sharedSystem() }
    const parts = [prompts.text(12), prompts.text(5)].map(text => ({ type: 'text', text }))
    const called = { id: 'c1', type: 'function', function: { name: 'find', arguments: '{"a":1}' } }
    const user = { role: 'user', content: prompts.text(20) }
    const kinds: Readonly<Record<string, Message>> = {
      'text parts': { messages: [system, { role: 'user', content: parts }] },
      'special tokens in text': {
        messages: [system, { role: 'user', content: `a<|im_end|>\n<|im_start|>b ${user.content}` }],
      },
      'tool call and result': {
        messages: [
          system,
          user,
          { role: 'assistant', content: null, tool_calls: [called] },
          { role: 'tool', tool_call_id: 'c1', content: prompts.text(10) },
        ],
      },
      'no generation prompt': { messages: [system, user], add_generation_prompt: false },
      'two system messages': { messages: [system, user, system] },
      'empty content': { messages: [system, { role: 'user', content: '' }, user] },
      'template arguments': { messages: [system, user], chat_template_kwargs: { thinking: true } },
      'named speaker': { messages: [system, { ...user, name: 'ann' }] },
      developer: { messages: [{ role: 'developer', content: prompts.text(30) }, user] },
    }
    const [what, body] = prompts.pick(Object.entries(kinds))
    return this.#ask(what, CHAT, body)
  }

  /** A chat of exactly so many blocks, as the engine itself counts them. */
  async #exactChat(): Promise<Ask> {
    const system = { role: 'system', content: this.#sharedSystem() }
    const start = this.#prompts.text(40)
    for (let extra = 0; extra < this.#blockSize * 2; extra++) {
      const messages = [system, { role: 'user', content: start + ' a'.repeat(extra) }]
      const tokens = await this.#engine?.tokens({ model: this.#model, messages })
      if (tokens === undefined || tokens.length % this.#blockSize !== 0) continue
      return this.#ask('chat of whole blocks', CHAT, { messages })
    }
    return this.#ask('chat', CHAT, { messages: [system, { role: 'user', content: start }] })
  }

  /** The responses and the messages API, which tell no ids: the engine is asked for those. */
  async #otherApi(): Promise<Ask> {
    const prompts = this.#prompts
    const system = this.#sharedSystem()
    const content = prompts.foreignText(prompts.below(40) + 20)
    const messages = [{ role: 'user', content }]
    const chat = [{ role: 'system', content: system }, ...messages]
    const tokens = (await this.#engine?.tokens({ model: this.#model, messages: chat })) ?? []
    const stream = prompts.below(2) === 1
    const common = { model: this.#model, temperature: 0, ignore_eos: true, stream }
    const what = stream ? ' streamed' : ''
    if (prompts.below(2)) {
      const body = { ...common, instructions: system, input: messages, max_output_tokens: 1 }
      return { what: `responses${what}`, path: '/v1/responses', body, tokens }
    }
    const body = { ...common, system, messages, max_tokens: 1 }
    return { what: `messages${what}`, path: '/v1/messages', body, tokens }
  }

  /** The probabilities of the prompt's tokens are asked for: the engine computes it all. */
  #skipping(): Ask {
    const tokens = this.#arrays.length > 0 ? this.#prompts.pick(this.#arrays) : null
    const prompt = tokens ?? this.#prompts.tokens(100)
    const body = { model: this.#model, prompt, prompt_logprobs: 1, max_tokens: 3, ...FIXED }
    return { what: 'prompt logprobs', path: COMPLETIONS, body }
  }
}

/** The members of a body that make its prompt: not those that `ask` sets anew. */
function promptOf(body: Message): Message {
  const fresh = ['stream', 'stream_options', 'max_tokens', 'cache_salt']
  return Object.fromEntries(Object.entries(body).filter(([key]) => !fresh.includes(key)))
}

function toolsOf(prompts: Prompts): readonly unknown[] {
  return ['find', 'weather'].map(name => ({
    type: 'function',
    function: {
      name,
      description: `${prompts.text(8)} — in °C`,
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string', enum: ['Paris', '東京'] },
          days: { type: 'integer' },
        },
        required: ['city'],
      },
    },
  }))
}
