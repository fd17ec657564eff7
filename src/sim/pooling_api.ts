/**
 * Embeddings, scores, ranks, pooled vectors, classes and transcriptions. Each input is one sequence
 * of the engine that ends with its prefill, so that it takes its time and fills the cache; vLLM
 * reports no cached tokens here. Vectors are made up from the tokens.
 */

import type { Answer } from './answer.ts'
import { badParameter } from './api_error.ts'
import { BodyReader, type JsonObject, parseBody, readSampling } from './body.ts'
import type { EngineSequence, FinishReason } from './engine.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'
import { promptSeed } from './sim_tokenizer.ts'

/** Numbers of a made-up vector. */
const DIMENSIONS = 64
/** Inputs of one request at most. */
const INPUTS_MAX = 2048

/** Texts or token lists of a field. */
async function readInputs(core: NodeCore, value: unknown): Promise<Uint32Array[]> {
  const items: readonly unknown[] =
    Array.isArray(value) && typeof value[0] !== 'number' ? value : [value]
  if (items.length > INPUTS_MAX) throw badParameter(`more than ${INPUTS_MAX} inputs`, 'input')
  const found: Uint32Array[] = []
  for (const item of items) {
    if (typeof item === 'string') found.push(await core.tokenizer.encodeText(item, true))
    else if (Array.isArray(item)) found.push(Uint32Array.from(item, Number))
    else throw badParameter('input must be a string or tokens.', 'input')
  }
  return found
}

/** A pooled input is done when its prompt is computed: one token that nobody reads. */
const POOLED: Answer = {
  tokensMax: 1,
  lastReason: 'stop',
  stopReason: null,
  texts: null,
  tool: null,
  tokenAt: () => 0,
}

/** Runs inputs through an engine; resolves when all have been computed, never when aborted. */
async function compute(
  core: NodeCore,
  call: HttpCall,
  body: JsonObject,
  inputs: readonly Uint32Array[],
): Promise<void> {
  for (const { length } of inputs) core.checkPromptLength(length)
  const sampling = { ...readSampling(new BodyReader(body), []), tokensMax: 1 }
  const generations = inputs.map(prompt => ({ prompt, answer: POOLED }))
  const model = core.modelOf(body)
  await new Promise<void>(resolve => {
    let unfinished = inputs.length
    const owner = {
      onToken(_sequence: EngineSequence, _token: number, reason: FinishReason | null): void {
        if (reason !== null && --unfinished === 0) resolve()
      },
    }
    core.generate(call, { model, sampling, generations, owner })
  })
}

function numberOf(seed: number, at: number): number {
  return ((promptSeed(Uint32Array.of(seed, at), 0, 0) % 20_001) - 10_000) / 80_000
}

function vector(tokens: Uint32Array): number[] {
  const seed = promptSeed(tokens, 0, 0)
  return Array.from({ length: DIMENSIONS }, (_, at) => numberOf(seed, at))
}

function usage(inputs: readonly Uint32Array[]): string {
  const tokens = inputs.reduce((sum, { length }) => sum + length, 0)
  return (
    `{"prompt_tokens":${tokens},"total_tokens":${tokens},"completion_tokens":0,` +
    '"prompt_tokens_details":null,"completion_tokens_details":null}'
  )
}

function head(core: NodeCore, prefix: string, body: JsonObject): string {
  const id = `${prefix}-${hexId()}`
  const created = Math.floor(Date.now() / 1000)
  return `{"id":"${id}","object":"list","created":${created},"model":"${core.modelOf(body)}"`
}

export async function embeddings(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const reader = new BodyReader(body)
  reader.requires('input')
  reader.done()
  core.modelOf(body)
  const inputs = await readInputs(core, body['input'])
  await compute(core, call, body, inputs)
  const isBase64 = body['encoding_format'] === 'base64'
  const items = inputs.map((input, index) => {
    const numbers = vector(input)
    const embedding = isBase64
      ? `"${Buffer.from(Float32Array.from(numbers).buffer).toString('base64')}"`
      : `[${numbers.join(',')}]`
    return `{"index":${index},"object":"embedding","embedding":${embedding}}`
  })
  const data = `"data":[${items.join(',')}],"usage":${usage(inputs)}}`
  call.json(200, `${head(core, 'embd', body)},${data}`)
}

export async function pooling(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  core.modelOf(body)
  const inputs = await readInputs(core, body['input'])
  await compute(core, call, body, inputs)
  const items = inputs.map(
    (input, index) => `{"index":${index},"object":"pooling","data":[${vector(input).join(',')}]}`,
  )
  const data = `"data":[${items.join(',')}],"usage":${usage(inputs)}}`
  call.json(200, `${head(core, 'pooling', body)},${data}`)
}

export async function classify(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  core.modelOf(body)
  const inputs = await readInputs(core, body['input'])
  await compute(core, call, body, inputs)
  const items = inputs.map((input, index) => {
    const [first = 0] = vector(input)
    const probs = [0.5 + first, 0.5 - first]
    const label = first < 0 ? 'LABEL_1' : 'LABEL_0'
    return `{"index":${index},"label":"${label}","probs":[${probs.join(',')}],"num_classes":2}`
  })
  const data = `"data":[${items.join(',')}],"usage":${usage(inputs)}}`
  call.json(200, `${head(core, 'classify', body)},${data}`)
}

/** Scores of pairs: one query against each text, or text by text. */
async function scorePairs(
  core: NodeCore,
  call: HttpCall,
  body: JsonObject,
  queries: unknown,
  documents: unknown,
): Promise<{ scores: number[]; inputs: Uint32Array[] }> {
  const first = await readInputs(core, queries)
  const second = await readInputs(core, documents)
  const inputs = [...first, ...second]
  await compute(core, call, body, inputs)
  const scores = second.map((text, at) => {
    const query = first[at] ?? first[0] ?? text
    return numberOf(promptSeed(query, 0, 0), promptSeed(text, 0, 0))
  })
  return { scores, inputs }
}

export async function score(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const { scores, inputs } = await scorePairs(core, call, body, body['text_1'], body['text_2'])
  const items = scores.map((value, index) => `{"index":${index},"object":"score","score":${value}}`)
  const data = `"data":[${items.join(',')}],"usage":${usage(inputs)}}`
  call.json(200, `${head(core, 'score', body)},${data}`)
}

export async function rerank(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const reader = new BodyReader(body)
  reader.requires('query', 'documents')
  const documents = reader.list('documents') ?? []
  const most = reader.integer('top_n') ?? documents.length
  reader.done()
  const { scores, inputs } = await scorePairs(core, call, body, body['query'], documents)
  const order = scores.map((value, index) => ({ value, index }))
  order.sort((one, other) => other.value - one.value)
  const results = order.slice(0, most > 0 ? most : documents.length).map(({ value, index }) => {
    const text = JSON.stringify(documents[index])
    const document = `{"text":${text},"multi_modal":null}`
    return `{"index":${index},"document":${document},"relevance_score":${value}}`
  })
  const tokens = inputs.reduce((sum, { length }) => sum + length, 0)
  call.json(
    200,
    `{"id":"score-${hexId()}","model":"${core.modelOf(body)}",` +
      `"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}},` +
      `"results":[${results.join(',')}]}`,
  )
}

/** POST /v1/audio/transcriptions: a form; the answer says how much of it arrived. */
export function transcribe(_core: NodeCore, call: HttpCall): void {
  const { length } = call.body
  const text = `simulated transcription of ${length} bytes`
  call.json(200, `{"text":"${text}","usage":{"type":"duration","seconds":1}}`)
}
