/** /tokenize, /detokenize and the renderings: tokens without generation. */

import { BodyReader, checkSampling, parseBody, readSampling } from './body.ts'
import { chatPrompt } from './chat_api.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'

export async function tokenize(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const reader = new BodyReader(body)
  const messages = reader.list('messages')
  if (messages === null) reader.requires('prompt')
  const text = reader.text('prompt') ?? ''
  const wantsTexts = reader.flag('return_token_strs')
  reader.done()
  core.modelOf(body)
  const ids =
    messages === null
      ? await core.tokenizer.encodeText(text, body['add_special_tokens'] !== false)
      : await chatPrompt(core, messages, body)
  const texts = wantsTexts
    ? JSON.stringify([...ids].map(id => core.tokenizer.spellingOf(id)))
    : null
  call.json(
    200,
    `{"count":${ids.length},"max_model_len":${core.modelTokensMax},` +
      `"tokens":[${ids.join(',')}],"token_strs":${texts}}`,
  )
}

export async function detokenize(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const reader = new BodyReader(body)
  reader.requires('tokens')
  const tokens = (reader.list('tokens') ?? []).filter(id => typeof id === 'number')
  reader.done()
  core.modelOf(body)
  call.json(200, `{"prompt":${JSON.stringify(await core.tokenizer.decode(tokens))}}`)
}

/** POST /v1/chat/completions/render: what the engine would be asked. */
export async function renderChat(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const reader = new BodyReader(body)
  reader.requires('messages')
  const messages = reader.list('messages') ?? []
  const sampling = readSampling(reader, ['max_completion_tokens', 'max_tokens'])
  reader.done()
  const model = core.modelOf(body)
  checkSampling(reader, sampling, core.modelTokensMax)
  const ids = await chatPrompt(core, messages, body)
  core.checkPromptLength(ids.length)
  const tokensMax = sampling.tokensMax ?? core.modelTokensMax - ids.length
  const { temperature, stops, isStream, salt } = sampling
  call.json(
    200,
    `{"request_id":"chatcmpl-${hexId()}","token_ids":[${ids.join(',')}],` +
      '"token_offsets":null,"features":null,"content_parts":null,"sampling_params":' +
      '{"presence_penalty":0.0,"frequency_penalty":0.0,"repetition_penalty":1.0,' +
      `"temperature":${temperature.toFixed(1)},"top_p":1.0,"min_p":0.0,` +
      `"stop":${JSON.stringify(stops)},"stop_token_ids":[],"max_tokens":${tokensMax},` +
      '"output_kind":2,"skip_clone":true,"bad_words":[],"skip_reading_prefix_cache":false},' +
      `"model":${JSON.stringify(model)},"reasoning_ended":null,"reasoning_parser_kwargs":null,` +
      `"return_token_ids":null,"output_mode":"tokens","stream":${isStream},` +
      `"stream_options":null,"cache_salt":${JSON.stringify(salt)},"priority":0,` +
      '"kv_transfer_params":null,"ec_transfer_params":null}',
  )
}
