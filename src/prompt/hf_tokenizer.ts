/**
 * A model's own tokenizer, from its directory: the Rust core of Hugging Face (the one vLLM uses)
 * and the model's chat template.
 *
 * Special tokens in front of which a text may be cut are chosen here. One qualifies when no
 * other added token can swallow its beginning and it takes no space around it:
 *
 *   "<|im_start|>"   special, not normalized, no lstrip/rstrip/single word          yes
 *   "<s>" with lstrip, "<|x|>" beside "<|x|>y", "aa" (overlaps itself)              no
 *
 * Cutting in front of the token, not behind it, keeps the text behind away from the start of a
 * piece, where some tokenizers add a space. Costs: 26 to 47 MB and 0.1 to 1 s a model to load.
 */
import { readFileSync } from 'node:fs'
import { isRecord } from '../record.ts'
import { ChatTemplate } from './chat_template.ts'
import { UnknownPrompt } from './node_messages.ts'
import { type ChatInput, type Tokenizer } from './tokenizer.ts'
import { readTokenizerFiles, TokenizerError } from './tokenizer_files.ts'

/** The part of the `tokenizers` package that is used; it is optional and loaded on demand. */
interface Encoding {
  getIds(): number[]
}
interface Core {
  encode(text: string, pair: null, options: { addSpecialTokens: boolean }): Promise<Encoding>
  disableTruncation(): void
  disablePadding(): void
}

export class HfTokenizer implements Tokenizer {
  readonly boundaries: readonly string[]
  /** The chat template reads the clock: its texts must not be remembered for long. */
  readonly readsClock: boolean
  readonly #core: Core
  readonly #chat: ChatTemplate | null
  readonly #toolChat: ChatTemplate | null

  constructor(
    core: Core,
    boundaries: readonly string[],
    chat: ChatTemplate | null,
    toolChat: ChatTemplate | null,
  ) {
    this.boundaries = boundaries
    this.readsClock = chat?.readsClock === true || toolChat?.readsClock === true
    this.#core = core
    this.#chat = chat
    this.#toolChat = toolChat
  }

  static async load(folder: string): Promise<HfTokenizer> {
    const files = readTokenizerFiles(folder)
    const core = await loadCore(files.tokenizer)
    const boundaries = boundariesOf(JSON.parse(readFileSync(files.tokenizer, 'utf8')))
    const compile = (source: string | null): ChatTemplate | null => {
      if (source === null) return null
      try {
        return new ChatTemplate(source, files.tokens)
      } catch (error) {
        throw new TokenizerError(
          `the chat template in ${folder} cannot be compiled (${String(error)}): ` +
            'leave "tokenizer" out to key prompts of this model by their text',
        )
      }
    }
    return new HfTokenizer(
      core,
      boundaries,
      compile(files.chatTemplate),
      compile(files.toolTemplate),
    )
  }

  renderChat(chat: ChatInput): string {
    const template = chat.tools === null ? this.#chat : (this.#toolChat ?? this.#chat)
    if (template === null) throw new UnknownPrompt('the model has no chat template')
    return template.render(chat)
  }

  async encode(text: string, addSpecialTokens: boolean): Promise<Uint32Array> {
    const encoding = await this.#core.encode(text, null, { addSpecialTokens })
    return Uint32Array.from(encoding.getIds())
  }
}

async function loadCore(file: string): Promise<Core> {
  const { Tokenizer: Loader } = await import('tokenizers').catch((error: unknown) => {
    throw new TokenizerError(
      `the optional package "tokenizers" cannot be loaded (${String(error)}): ` +
        'run "npm install tokenizers@0.23.2"',
    )
  })
  try {
    const core: Core = Loader.fromFile(file)
    // The node switches both off; a file may have them on from its training.
    core.disableTruncation()
    core.disablePadding()
    return core
  } catch (error) {
    throw new TokenizerError(`${file} cannot be loaded (${String(error)}): copy it again`)
  }
}

interface AddedToken {
  readonly content: string
  readonly isPlain: boolean
}

/** The added tokens in front of which any text may be cut. */
function boundariesOf(tokenizer: unknown): string[] {
  const listed = isRecord(tokenizer) ? tokenizer.added_tokens : null
  const added: AddedToken[] = []
  for (const token of Array.isArray(listed) ? listed : []) {
    if (!isRecord(token) || typeof token.content !== 'string' || token.content === '') continue
    const { special, normalized, lstrip, rstrip, single_word: single } = token
    const isPlain = special === true && !normalized && !lstrip && !rstrip && !single
    added.push({ content: token.content, isPlain })
  }
  return added
    .filter(token => token.isPlain && added.every(other => !swallows(other.content, token.content)))
    .map(token => token.content)
}

/** Whether a match of `other` could cover the first character of `token`, starting before it. */
function swallows(other: string, token: string): boolean {
  if (other !== token && other.includes(token)) return true
  for (let length = 1; length < Math.min(other.length, token.length + 1); length++) {
    if (token.startsWith(other.slice(other.length - length))) return true
  }
  return false
}
