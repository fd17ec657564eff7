import { describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/errors.ts'
import type { PromptKind } from '../../src/native/json_scan.ts'
import { type RequestBody, readBody } from '../../src/prompt/body.ts'
import { chatOf } from '../../src/prompt/chat_requests.ts'
import { HfTokenizer } from '../../src/prompt/hf_tokenizer.ts'
import { UnknownPrompt } from '../../src/prompt/node_messages.ts'
import { PromptTokens } from '../../src/prompt/prompt_tokens.ts'
import { ToyTokenizer } from '../../src/prompt/toy_tokenizer.ts'
import { tokenizerFolder } from './tokenizer_fixture.ts'

function read(value: object): RequestBody {
  const body = readBody(Buffer.from(JSON.stringify(value)))
  if (body instanceof OperatingError) throw body
  return body
}

const toy = new ToyTokenizer()

async function make(value: object, kind: PromptKind, tokens = new PromptTokens(toy, 10_000)) {
  const { ids, isVerifiable } = await tokens.make(read(value), kind)
  return { ids: [...ids], isVerifiable }
}

function messagesOf(value: object, kind: PromptKind): readonly unknown[] {
  return chatOf(read(value), kind).messages
}

const USER = { role: 'user', content: 'What is up?' }

describe('the tokens of a request', () => {
  it('are those of the chat with its tools, documents and options', async () => {
    const tools = [{ type: 'function', function: { name: 'f' } }]
    const { ids } = await make({ messages: [USER], tools, model: 'm' }, 'chat')
    expect(ids).toEqual([...toy.encodeChat([USER], tools)])
    const open = await make({ messages: [USER], add_generation_prompt: false }, 'chat')
    expect(open.ids).toEqual([...toy.encodeChat([USER], null, false)])
    const special = await make({ messages: [USER], add_special_tokens: true }, 'chat')
    expect(special.ids).toEqual([1, ...toy.encodeChat([USER])])
    const chat = chatOf(read({ messages: [USER], reasoning_effort: 'none' }), 'chat')
    expect(chat.templateArguments).toEqual({ reasoning_effort: 'none', enable_thinking: false })
  })

  it('are those of a text, with the tokens that the model puts around it', async () => {
    const hf = new PromptTokens(await HfTokenizer.load(tokenizerFolder()), 10_000)
    const framed = await make({ prompt: 'hello' }, 'completion', hf)
    const plain = await make({ prompt: 'hello', add_special_tokens: false }, 'completion', hf)
    expect(framed.ids).toEqual([...(await hf.tokenizer.encode('hello', true))])
    expect(framed.ids.slice(1)).toEqual(plain.ids)
    expect(framed.isVerifiable).toBe(true)
    expect((await make({ input: 'hello' }, 'embedding', hf)).ids).toEqual(framed.ids)
  })

  it('are those of the first of several texts, and not compared', async () => {
    const several = await make({ prompt: ['one', 'two'] }, 'completion')
    expect(several).toEqual({ ids: [1, ...toy.encodeText('one')], isVerifiable: false })
    expect((await make({ prompt: ['one'] }, 'completion')).isVerifiable).toBe(true)
    // The node computes all of them (LA-04): the others count by their length.
    const body = read({ prompt: ['one', 'x'.repeat(4000), 'two'] })
    const made = await new PromptTokens(toy, 10_000).make(body, 'completion')
    expect(made.promptTokens).toBe(several.ids.length + 1001)
    for (const prompt of [[], [null], [[1]]]) {
      await expect(make({ prompt }, 'completion')).rejects.toThrow(UnknownPrompt)
    }
  })

  it('are not compared when a message has a part that is no text', async () => {
    const content = [
      { type: 'text', text: 'look' },
      { type: 'image_url', image_url: { url: '' } },
    ]
    expect((await make({ messages: [{ role: 'user', content }] }, 'chat')).isVerifiable).toBe(false)
  })

  it('are not known when a printed number is written differently by the node', async () => {
    const parameters = { minimum: 0 }
    const body = { messages: [USER], tools: [{ function: { name: 'f', parameters } }] }
    const text = JSON.stringify(body).replace('"minimum":0', '"minimum":0.0')
    const odd = readBody(Buffer.from(text))
    if (odd instanceof OperatingError) throw odd
    expect(() => chatOf(odd, 'chat')).toThrow(UnknownPrompt)
    expect((await make(body, 'chat')).isVerifiable).toBe(true)
  })
})

describe('a Responses request', () => {
  it('becomes the chat that the node makes of it', () => {
    expect(messagesOf({ input: 'hi', instructions: 'be kind' }, 'responses')).toEqual([
      { role: 'system', content: 'be kind' },
      { role: 'user', content: 'hi' },
    ])
    const input = [
      { role: 'user', content: [{ type: 'input_text', text: 'a' }] },
      { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
      { type: 'function_call', call_id: 'd', name: 'g', arguments: '{}' },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'b' }] },
      { type: 'function_call_output', call_id: 'c', output: 'done' },
    ]
    expect(messagesOf({ input }, 'responses')).toEqual([
      input[0],
      {
        role: 'assistant',
        tool_calls: [
          { id: 'c', function: { arguments: '{}', name: 'f' }, type: 'function' },
          { id: 'd', function: { arguments: '{}', name: 'g' }, type: 'function' },
        ],
        content: 'b',
      },
      { role: 'tool', content: 'done', tool_call_id: 'c' },
    ])
    const tool = { type: 'function', name: 'f', parameters: {}, strict: true }
    expect(chatOf(read({ input: 'x', tools: [tool] }), 'responses').tools).toEqual([
      { type: 'function', function: tool },
    ])
  })

  it('is not known where the node adds something of its own', () => {
    const bodies = [
      { input: [{ type: 'reasoning', summary: [] }] },
      { input: [{ role: 'assistant', content: 'x', status: 'incomplete' }] },
      { input: 'x', tools: [{ type: 'web_search' }] },
    ]
    for (const body of bodies) {
      expect(() => messagesOf(body, 'responses')).toThrow(UnknownPrompt)
    }
  })
})

describe('a Messages request', () => {
  it('becomes the chat that the node makes of it', () => {
    const body = {
      system: [
        { type: 'text', text: 'x-anthropic-billing-header: 1' },
        { type: 'text', text: 'be ', cache_control: { type: 'ephemeral' } },
        { type: 'text', text: 'kind' },
      ],
      messages: [
        { role: 'user', content: 'a' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm' },
            { type: 'text', text: 'b' },
            { type: 'tool_use', id: 't', name: 'f', input: { x: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'r' }] },
            { type: 'text', text: 'c' },
            { type: 'text', text: 'd' },
          ],
        },
      ],
      tools: [{ name: 'f', input_schema: { properties: {} } }],
    }
    expect(messagesOf(body, 'messages')).toEqual([
      { role: 'system', content: 'be kind' },
      { role: 'user', content: 'a' },
      {
        role: 'assistant',
        reasoning: 'hm',
        tool_calls: [{ id: 't', type: 'function', function: { name: 'f', arguments: { x: 1 } } }],
        content: 'b',
      },
      { role: 'tool', tool_call_id: 't', content: 'r' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'c' },
          { type: 'text', text: 'd' },
        ],
      },
    ])
    expect(chatOf(read(body), 'messages').tools).toMatchObject([
      { type: 'function', function: { name: 'f', parameters: { properties: {}, type: 'object' } } },
    ])
  })

  it('is not known where the template or the start of the node decides', () => {
    const bodies = [
      { messages: [{ role: 'system', content: 'x' }] },
      { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] },
      { messages: [USER], thinking: { type: 'disabled' } },
      { messages: [USER], tools: [{ type: 'web_search_1', name: 'web_search' }] },
    ]
    for (const body of bodies) {
      expect(() => messagesOf(body, 'messages')).toThrow(UnknownPrompt)
    }
  })
})
