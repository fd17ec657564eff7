/**
 * What a tokenizer directory holds: where the chat template stands and which special tokens it
 * may name. Read once, when a prompt thread loads the model.
 *
 *   tokenizer.json            the tokenizer itself
 *   chat_template.jinja       the template, or else …
 *   tokenizer_config.json     … its `chat_template`; also `bos_token` and the like
 *
 * A directory that cannot be used is a mistake of the configuration: the message names the file
 * and what to do.
 */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { isRecord } from '../record.ts'

/** A tokenizer directory that cannot be used; the message says what to do. */
export class TokenizerError extends Error {}

export interface TokenizerFiles {
  /** Path of tokenizer.json. */
  readonly tokenizer: string
  /** null: the model has no chat template, only completions can be tokenized. */
  readonly chatTemplate: string | null
  /** Used instead when the request has tools; null where one template serves both. */
  readonly toolTemplate: string | null
  /** `bos_token`, `eos_token` … */
  readonly tokens: Readonly<Record<string, string>>
}

const TOKEN_NAMES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
]

export function readTokenizerFiles(folder: string): TokenizerFiles {
  const tokenizer = path.join(folder, 'tokenizer.json')
  if (!existsSync(tokenizer)) {
    throw new TokenizerError(
      `${tokenizer} does not exist: name a directory with tokenizer.json and ` +
        'tokenizer_config.json, or leave "tokenizer" out to key prompts by their text',
    )
  }
  const config = readJson(path.join(folder, 'tokenizer_config.json'))
  const older = readJson(path.join(folder, 'special_tokens_map.json'))
  const named = namedTemplates(config.chat_template)
  const file = path.join(folder, 'chat_template.jinja')
  const chatTemplate = existsSync(file) ? readFileSync(file, 'utf8') : (named.default ?? null)
  const toolTemplate = existsSync(file) ? null : (named.tool_use ?? null)
  return {
    tokenizer,
    chatTemplate,
    toolTemplate,
    tokens: { ...tokensOf(older), ...tokensOf(config) },
  }
}

function readJson(file: string): Readonly<Record<string, unknown>> {
  if (!existsSync(file)) return {}
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return isRecord(value) ? value : {}
  } catch (error) {
    throw new TokenizerError(`${file} is no JSON (${String(error)}): copy it from the model again`)
  }
}

/** One template, or a list of templates with names. */
function namedTemplates(value: unknown): Readonly<Record<string, string>> {
  if (typeof value === 'string') return { default: value }
  const named: Record<string, string> = {}
  for (const item of Array.isArray(value) ? value : []) {
    if (!isRecord(item) || typeof item.name !== 'string') continue
    if (typeof item.template === 'string') named[item.name] = item.template
  }
  return named
}

/** Special tokens are given as text or as an object with their content. */
function tokensOf(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const name of TOKEN_NAMES) {
    const value = config[name]
    const text = isRecord(value) ? value.content : value
    if (typeof text === 'string') tokens[name] = text
  }
  return tokens
}
