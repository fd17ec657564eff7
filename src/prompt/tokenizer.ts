/**
 * What the prompt room asks of a tokenizer. Two exist: the toy one (deterministic, no files) and
 * the Hugging Face one (`tokenizer.json` and a chat template).
 *
 *   messages ──renderChat──► text ──encode──► token ids
 *
 * `boundaries` are the texts of special tokens in front of which any text may be cut:
 * ids(before) + ids(after) = ids(whole) holds there exactly, and nowhere else. The memo of the
 * prompt workers rests on this alone.
 */

/** Name that stands for the built-in toy tokenizer of the simulated nodes. */
export const TOY_TOKENIZER = 'toy'

/** What a chat template sees of a chat request, with the defaults of a vLLM node filled in. */
export interface ChatInput {
  readonly messages: readonly unknown[]
  readonly tools: readonly unknown[] | null
  readonly documents: readonly unknown[] | null
  readonly addGenerationPrompt: boolean
  readonly continueFinalMessage: boolean
  /** `chat_template_kwargs` of the request. */
  readonly templateArguments: Readonly<Record<string, unknown>>
}

export interface Tokenizer {
  /** Texts of special tokens in front of which a text may be cut; never empty strings. */
  readonly boundaries: readonly string[]
  /** The text that the node's chat template makes of a chat; throws when the template refuses. */
  renderChat(chat: ChatInput): string
  /** Token ids of a text; `addSpecialTokens` as in a completions request (BOS and the like). */
  encode(text: string, addSpecialTokens: boolean): Uint32Array | Promise<Uint32Array>
}

/** A chat with nothing but messages, tools and the usual generation prompt. */
export function plainChat(
  messages: readonly unknown[],
  tools: readonly unknown[] | null = null,
  addGenerationPrompt = true,
): ChatInput {
  return {
    messages,
    tools,
    documents: null,
    addGenerationPrompt,
    continueFinalMessage: false,
    templateArguments: {},
  }
}
