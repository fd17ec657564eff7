/**
 * The token ids that a node makes of a request, for one model: template, special tokens, memo.
 *
 *   chat         template ─► text ─► ids                  nothing added
 *   responses    template ─► text ─► ids                  BOS and the like added, as in vLLM
 *   completion   text or the first of several ─► ids      BOS and the like added
 *   embedding    the same
 *
 * Runs in a prompt thread. What cannot be known throws `UnknownPrompt`.
 */
import { keyId, type PromptKind, VALUE_FALSE, VALUE_NULL, VALUE_TRUE } from '../native/json_scan.ts'
import type { RequestBody } from './body.ts'
import { chatOf } from './chat_requests.ts'
import { GROWING } from './eligibility.ts'
import { TEXT_TOKEN_BYTES } from './keys.ts'
import { hasMedium, UnknownPrompt } from './node_messages.ts'
import { SegmentMemo } from './segment_memo.ts'
import type { Tokenizer } from './tokenizer.ts'

const ADD_SPECIAL_TOKENS = keyId('add_special_tokens')

export interface MadeTokens {
  readonly ids: Uint32Array
  /** Tokens of all prompts: `ids`, and an estimate of the texts after the first. */
  readonly promptTokens: number
  /** One sequence, and all of it. */
  readonly isVerifiable: boolean
}

/** What a tokenizer puts around a text when it adds special tokens. */
interface Frame {
  readonly before: Uint32Array
  readonly after: Uint32Array
}

export class PromptTokens {
  readonly tokenizer: Tokenizer
  readonly memo: SegmentMemo
  /** null: the frame is not constant; such texts are encoded whole. */
  #frame: Frame | null | undefined

  constructor(tokenizer: Tokenizer, memoBytesMax: number) {
    this.tokenizer = tokenizer
    this.memo = new SegmentMemo(tokenizer, memoBytesMax)
    this.#frame = undefined
  }

  async make(body: RequestBody, kind: PromptKind): Promise<MadeTokens> {
    if (kind === 'completion' || kind === 'embedding') return await this.#makeText(body, kind)
    const chat = chatOf(body, kind)
    const text = this.tokenizer.renderChat(chat)
    const isFramed = kind === 'responses' || body.typeOf(ADD_SPECIAL_TOKENS) === VALUE_TRUE
    const ids = await this.encode(text, isFramed)
    return { ids, promptTokens: ids.length, isVerifiable: !hasMedium(chat.messages) }
  }

  async encode(text: string, addSpecialTokens: boolean): Promise<Uint32Array> {
    if (!addSpecialTokens) return await this.memo.encode(text)
    this.#frame ??= await findFrame(this.tokenizer)
    if (this.#frame === null) return await this.tokenizer.encode(text, true)
    const ids = await this.memo.encode(text)
    const { before, after } = this.#frame
    if (before.length + after.length === 0) return ids
    const framed = new Uint32Array(before.length + ids.length + after.length)
    framed.set(before)
    framed.set(ids, before.length)
    framed.set(after, before.length + ids.length)
    return framed
  }

  async #makeText(body: RequestBody, kind: PromptKind): Promise<MadeTokens> {
    const value = body.value(GROWING[kind])
    const list: unknown[] = Array.isArray(value) ? value : [value]
    const [first, ...others] = list
    if (typeof first !== 'string') throw new UnknownPrompt('the prompt is no text')
    const type = body.typeOf(ADD_SPECIAL_TOKENS)
    const isFramed = type === VALUE_NULL || type !== VALUE_FALSE
    const ids = await this.encode(first, isFramed)
    let promptTokens = ids.length
    // The node computes them all, but only the first is matched: the others are not worth the time.
    for (const text of others) {
      if (typeof text === 'string') promptTokens += Math.ceil(text.length / TEXT_TOKEN_BYTES)
    }
    return { ids, promptTokens, isVerifiable: others.length === 0 }
  }
}

/** The ids around a sample text; null when they are not simply in front of it and behind it. */
async function findFrame(tokenizer: Tokenizer): Promise<Frame | null> {
  const sample = 'a sample'
  const plain = await tokenizer.encode(sample, false)
  const framed = await tokenizer.encode(sample, true)
  const extra = framed.length - plain.length
  for (let lead = 0; lead <= extra; lead++) {
    if (plain.every((id, at) => framed[lead + at] === id)) {
      return { before: framed.slice(0, lead), after: framed.slice(lead + plain.length) }
    }
  }
  return null
}
