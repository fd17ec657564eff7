/**
 * A small tokenizer directory made on the spot: byte-level BPE with a few merges, chat template
 * with roles and tools, special tokens of every kind.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

export const CHAT_TEMPLATE =
  '{%- if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{%- endif %}' +
  '{%- for message in messages %}' +
  "{{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}" +
  "{%- if message.tool_calls %}{{- message.tool_calls[0]['function']['arguments'] | tojson }}" +
  "{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}" +
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"

function isPlain(byte: number): boolean {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
}

/** The 256 characters that stand for bytes in a byte-level vocabulary. */
function byteCharacters(): string[] {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPlain(byte) ? byte : next++),
  )
}

const MERGES = ['h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'o r', 'Ġw or', 'Ġ hello', 'a b', 'ab ab']

interface Added {
  readonly content: string
  readonly special?: boolean
  readonly lstrip?: boolean
  readonly normalized?: boolean
}

export const ADDED: readonly Added[] = [
  { content: '<|bos|>' },
  { content: '<|im_start|>' },
  { content: '<|im_end|>' },
  { content: '<|im_end|>x' },
  { content: '<think>', special: false },
  { content: '<mask>', lstrip: true },
]

function tokenizerJson(): object {
  const vocab: Record<string, number> = {}
  for (const character of byteCharacters()) vocab[character] = Object.keys(vocab).length
  for (const merge of MERGES) vocab[merge.replace(' ', '')] = Object.keys(vocab).length
  const first = Object.keys(vocab).length
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false }
  const added = ADDED.map((token, at) => ({ id: first + at, ...flags, special: true, ...token }))
  const bos = { SpecialToken: { id: '<|bos|>', type_id: 0 } }
  const text = { Sequence: { id: 'A', type_id: 0 } }
  return {
    version: '1.0',
    truncation: { direction: 'Right', max_length: 8, strategy: 'LongestFirst', stride: 0 },
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [bos, text],
      pair: [bos, text, text],
      special_tokens: { '<|bos|>': { id: '<|bos|>', ids: [first], tokens: ['<|bos|>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: MERGES.map(merge => merge.split(' ')),
    },
  }
}

/** Writes the directory; `template` null leaves the chat template out. */
export function tokenizerFolder(template: string | null = CHAT_TEMPLATE): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'warmpath-tokenizer-'))
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()))
  const config = {
    bos_token: { content: '<|bos|>' },
    eos_token: '<|im_end|>',
    chat_template: template,
  }
  writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config))
  return folder
}
