import { Template } from '@huggingface/jinja'
import { describe, expect, it } from 'vitest'
import { ChatTemplate } from '../../src/prompt/chat_template.ts'
import { contentFormat } from '../../src/prompt/content_format.ts'
import { isPlainJson, nodeTools, UnknownPrompt } from '../../src/prompt/node_messages.ts'
import { type ChatInput, plainChat } from '../../src/prompt/tokenizer.ts'

const STRING =
  "{% for m in messages %}[{{ m.role }}|{{ m['content'] }}|" +
  '{{ m.tool_calls | tojson if m.tool_calls }}]' +
  '{% endfor %}{{ "GEN" if add_generation_prompt }}'
const PARTS =
  '{% for m in messages %}[{% if m.content is string %}S{{ m.content }}{% else %}' +
  '{% for part in m.content %}<{{ part.type }}:{{ part.text }}>{% endfor %}{% endif %}]{% endfor %}'

function render(source: string, chat: Partial<ChatInput>): string {
  return new ChatTemplate(source, { bos_token: '<s>' }).render({ ...plainChat([]), ...chat })
}

const text = (value: string): object => ({ type: 'text', text: value })
const IMAGE = { type: 'image_url', image_url: { url: 'data:' } }

describe('the content of messages', () => {
  it('is told to be a list of parts by the same signs that a node reads', () => {
    const cases: [string, 'string' | 'parts'][] = [
      ['{% for m in messages %}{{ m.content }}{% endfor %}', 'string'],
      ['{% for m in messages %}{% for p in m.content %}{% endfor %}{% endfor %}', 'parts'],
      ["{% for m in messages %}{% for p in m['content'] %}{% endfor %}{% endfor %}", 'parts'],
      [
        '{% set rest = messages[1:] %}' +
          '{% for m in rest %}{% for p in m.content %}{% endfor %}{% endfor %}',
        'parts',
      ],
      [
        '{% for m in messages %}{% for p in m.content | reverse %}{% endfor %}{% endfor %}',
        'parts',
      ],
      ['{% for m in messages %}{% for t in m.tool_calls %}{% endfor %}{% endfor %}', 'string'],
      [
        '{% for m in messages %}{% set content = m.content %}' +
          '{% for p in content %}{% endfor %}{% endfor %}',
        'parts',
      ],
      [
        '{% macro show(c) %}{% for p in c %}{% endfor %}{% endmacro %}' +
          '{% for m in messages %}{{ show(m.content) }}{% endfor %}',
        'parts',
      ],
      [
        '{% macro show(content) %}{% for p in content %}{% endfor %}{% endmacro %}' +
          '{% for m in messages %}{{ m.content }}{% endfor %}{{ show([1]) }}',
        'string',
      ],
    ]
    for (const [source, format] of cases) {
      expect([source, contentFormat(new Template(source))]).toEqual([source, format])
    }
  })

  it('is joined without empty texts for a template of strings, and listed for one of parts', () => {
    const messages = [
      { role: 'user', content: [text(''), text('a'), 'b', { type: 'refusal', refusal: 'c' }] },
      { role: 'assistant', content: null },
      { role: 'tool', content: [text('x'), text('y')] },
    ]
    expect(render(STRING, { messages })).toBe('[user|a\nb\nc|][assistant||][tool|x\ny|]GEN')
    const parts = '[<text:><text:a><text:b><text:c>][][Sx\ny]'
    expect(render(PARTS, { messages })).toBe(parts)
  })

  it('ends in front of the first part that is no text', () => {
    const messages = [
      { role: 'system', content: 'be kind' },
      { role: 'user', content: [text('look'), IMAGE, text('after')] },
      { role: 'user', content: 'never seen' },
    ]
    expect(render(STRING, { messages })).toBe('[system|be kind|][user|look\n')
    expect(render(PARTS, { messages })).toBe('[<text:be kind>][<text:look><text:')
  })

  it('loses the line of a coding client that changes with every request', () => {
    const content = 'x-anthropic-billing-header: cch=1;\nYou are kind.'
    expect(render(STRING, { messages: [{ role: 'system', content }] })).toContain('|You are kind.|')
    expect(render(STRING, { messages: [{ role: 'user', content }] })).toContain('cch=1')
  })
})

describe('a chat template', () => {
  it('sees the arguments of tool calls as an object, and tools in the order of the node', () => {
    const call = { type: 'function', id: 'c', function: { name: 'f', arguments: '{"b":[1,2.5]}' } }
    const messages = [{ role: 'assistant', content: 'x', tool_calls: [call], zz: 1 }]
    expect(render(STRING, { messages })).toContain(
      '[{"id": "c", "function": {"arguments": {"b": [1, 2.5]}, "name": "f"}, "type": "function"}]',
    )
    expect(nodeTools([{ function: { parameters: { z: 1 }, x: 1, name: 'f' } }])).toEqual([
      { type: 'function', function: { name: 'f', description: null, parameters: { z: 1 } } },
    ])
    const odd = ['{', '[1]', '"x"', '']
    for (const given of odd) {
      const broken = [{ ...call, function: { name: 'f', arguments: given } }]
      const chat = [{ role: 'assistant', content: 'x', tool_calls: broken }]
      expect(render(STRING, { messages: chat })).toContain('"arguments": {}')
    }
  })

  it('continues the final message, whether or not the template trims it', () => {
    const messages = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'I am  ' },
    ]
    const chat = { messages, continueFinalMessage: true, addGenerationPrompt: false }
    expect(render(STRING, chat)).toBe('[user|hi|][assistant|I am  ')
    const trimming = '{% for m in messages %}[{{ m.content | trim }}]{% endfor %}'
    expect(render(trimming, chat)).toBe('[hi][I am')
    expect(render(PARTS, chat)).toBe('[<text:hi>][<text:I am  ')
    expect(() => render('nothing', chat)).toThrow(UnknownPrompt)
  })

  it('gets the arguments of the request and the special tokens of the model', () => {
    const source = '{{ bos_token }}{{ enable_thinking }}{{ documents | length }}'
    const more = { templateArguments: { enable_thinking: 1 }, documents: [1, 2] }
    expect(render(source, more)).toBe('<s>12')
    expect(new ChatTemplate('{{ strftime_now("%Y") }}', {}).readsClock).toBe(true)
  })

  it('sees what developers say as one system message, unless it knows their role', () => {
    const messages = [
      { role: 'system', content: 'a' },
      { role: 'user', content: 'b' },
      { role: 'developer', content: 'c', tools: [] },
      { role: 'user', content: 'd' },
    ]
    expect(render(STRING, { messages })).toBe('[system|a\n\nc|][user|b|][user|d|]GEN')
    expect(render(STRING, { messages: messages.slice(2) })).toBe('[system|c|][user|d|]GEN')
    expect(render(PARTS, { messages })).toBe('[Sa\n\nc][<text:b>][<text:d>]')
    const knowing = `${STRING}{# 'developer' #}`
    expect(render(knowing, { messages })).toContain('[developer|c|]')
  })

  it('refuses what only the node can know', () => {
    for (const message of [{ content: 'no role' }, 'text']) {
      expect(() => render(STRING, { messages: [message] })).toThrow(UnknownPrompt)
    }
  })
})

describe('JSON that a template prints', () => {
  it('is plain only where JavaScript writes numbers and keys as Python does', () => {
    const plain = [
      '{"a":1,"b":-2.5,"c":"1.0 \\" 2e5","d":0.001}',
      '[]',
      '12',
      '{"a1":9007199254740991}',
    ]
    const odd = [
      '{"a":1.0}',
      '[1e3]',
      '0.00001',
      '12345678901234567890',
      '{"1":2}',
      '-0',
      '{"10" :1}',
    ]
    for (const json of plain) expect([json, isPlainJson(json)]).toEqual([json, true])
    for (const json of odd) expect([json, isPlainJson(json)]).toEqual([json, false])
  })
})
