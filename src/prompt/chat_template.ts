/**
 * A model's chat template, compiled once, rendered as the node renders it.
 *
 * Continuing the final message and cutting at the first medium both work with a mark in the
 * text: what stands behind it in the rendered chat is dropped.
 *
 * Costs: a compile of some ms at load; a render of about 1 ms per 100 kB of messages. What it
 * does badly: templates are interpreted by another Jinja than the node's; the truth check finds
 * models where that matters. A template that reads the clock gives tokens that are true today.
 */
import { Template } from '@huggingface/jinja'
import { isRecord } from '../record.ts'
import { type ContentFormat, contentFormat } from './content_format.ts'
import { withoutDeveloper } from './developer_role.ts'
import { CUT_MARK, nodeMessages, nodeTools, UnknownPrompt } from './node_messages.ts'
import { type ChatInput } from './tokenizer.ts'

/** With a space, so that a template that trims the content shows itself. */
const CONTINUE_MARK = '\ue0ca\ue0cb\ue0cc '

export class ChatTemplate {
  /** The rendered text depends on the time of day. */
  readonly readsClock: boolean
  readonly contentFormat: ContentFormat
  readonly #template: Template
  readonly #knowsDeveloper: boolean
  /** `bos_token` and the like. */
  readonly #tokens: Readonly<Record<string, string>>

  constructor(source: string, tokens: Readonly<Record<string, string>>) {
    this.#template = new Template(source)
    this.#tokens = tokens
    this.contentFormat = contentFormat(this.#template)
    this.readsClock = source.includes('strftime_now')
    this.#knowsDeveloper = source.includes('"developer"') || source.includes("'developer'")
  }

  /** The text of a chat, as far as the first part that is no text. */
  render(chat: ChatInput): string {
    const { messages: listed, isCut } = nodeMessages(chat.messages, this.contentFormat)
    const messages = this.#knowsDeveloper ? listed : withoutDeveloper(listed)
    const continued = chat.continueFinalMessage && !isCut
    const text = this.#template.render({
      ...this.#tokens,
      ...chat.templateArguments,
      messages: continued ? withMark(messages) : messages,
      tools: chat.tools === null ? null : nodeTools(chat.tools),
      documents: chat.documents,
      add_generation_prompt: chat.addGenerationPrompt,
      continue_final_message: chat.continueFinalMessage,
    })
    if (isCut) return upTo(text, CUT_MARK)
    if (!continued) return text
    const isKept = text.includes(CONTINUE_MARK)
    const cut = upTo(text, CONTINUE_MARK.trimEnd())
    return isKept ? cut : cut.trimEnd()
  }
}

function upTo(text: string, mark: string): string {
  const end = text.lastIndexOf(mark)
  if (end === -1) throw new UnknownPrompt('the template dropped the content that was marked')
  return text.slice(0, end)
}

/** The messages with the mark behind the text of the last one. */
function withMark(messages: readonly Readonly<Record<string, unknown>>[]): unknown[] {
  const last = messages.at(-1)
  if (last === undefined) throw new UnknownPrompt('there is no message to continue')
  const { content } = last
  const before = messages.slice(0, -1)
  if (typeof content === 'string') return [...before, { ...last, content: content + CONTINUE_MARK }]
  const part: unknown = Array.isArray(content) ? content.at(-1) : undefined
  if (!Array.isArray(content) || !isRecord(part)) throw new UnknownPrompt('nothing to continue')
  const marked = { ...part, text: `${String(part.text)}${CONTINUE_MARK}` }
  return [...before, { ...last, content: [...content.slice(0, -1), marked] }]
}
