/**
 * A prompt thread: holds tokenizers (26 to 47 MB each) and turns request bodies into chains of
 * block keys, one task at a time. Nothing here is on a thread that has a client's socket.
 *
 *   task  body ─► template ─► text ─► ids ─► chain        result  keys, moved and not copied
 *
 * A tokenizer is loaded with the first task that names it and stays. One that cannot be loaded
 * stays broken until the thread ends: every task for it says so at once.
 */
import { move, transferableSymbol, valueSymbol, workerData } from 'piscina'
import { chainKeys } from '../native/chain_hash.ts'
import { keyId } from '../native/json_scan.ts'
import { isRecord } from '../record.ts'
import { readBody } from './body.ts'
import { HfTokenizer } from './hf_tokenizer.ts'
import { UnknownPrompt } from './node_messages.ts'
import { PromptTokens } from './prompt_tokens.ts'
import type { QueuedTask, TokenIdsTask, TokenTask, WorkerOutcome } from './token_pool.ts'
import { TOY_TOKENIZER, type Tokenizer } from './tokenizer.ts'
import { TokenizerError } from './tokenizer_files.ts'
import { ToyTokenizer } from './toy_tokenizer.ts'

const MESSAGES = keyId('messages')

const given: unknown = workerData
/** Bytes of token ids remembered for each model; the pool says how many. */
const memoBytesMax = isRecord(given) ? Number(given.memoBytesMax) : 0

const models = new Map<string, Promise<PromptTokens | TokenizerError>>()

async function load(name: string): Promise<PromptTokens | TokenizerError> {
  try {
    const tokenizer: Tokenizer =
      name === TOY_TOKENIZER ? new ToyTokenizer() : await HfTokenizer.load(name)
    return new PromptTokens(tokenizer, memoBytesMax)
  } catch (error) {
    return error instanceof TokenizerError ? error : new TokenizerError(String(error))
  }
}

async function modelOf(name: string): Promise<PromptTokens | TokenizerError> {
  let model = models.get(name)
  if (model === undefined) {
    model = load(name)
    models.set(name, model)
  }
  return await model
}

async function outcomeOf(task: TokenTask): Promise<WorkerOutcome> {
  const { bytes, kind, tokenizer, root, blockSize } = task
  const model = await modelOf(tokenizer)
  if (model instanceof TokenizerError) return { reason: 'unavailable', message: model.message }
  const body = readBody(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  if (body instanceof Error) return { reason: 'error', message: body.message }
  try {
    const { ids, promptTokens, isVerifiable } = await model.make(body, kind)
    const keys = new BigUint64Array(Math.floor(ids.length / blockSize))
    chainKeys(root, ids, ids.length, blockSize, keys)
    const isLasting = !(model.tokenizer instanceof HfTokenizer) || !model.tokenizer.readsClock
    return { exact: true, isVerifiable, isLasting, promptTokens, blockSize, keys }
  } catch (error) {
    const reason = error instanceof UnknownPrompt ? 'template' : 'error'
    return { reason, message: String(error) }
  }
}

/** Our ids of a body of /tokenize, for the truth check; null where we do not claim to know them. */
export async function tokenIds(task: TokenIdsTask): Promise<Uint32Array | null> {
  const model = await modelOf(task.tokenizer)
  const body = readBody(Buffer.from(task.json))
  if (model instanceof Error || body instanceof Error) return null
  try {
    return (await model.make(body, body.has(MESSAGES) ? 'chat' : 'completion')).ids
  } catch {
    return null
  }
}

/** Null when nobody waits for the tokens any more. */
export default async function run(task: QueuedTask): Promise<unknown> {
  if (Atomics.load(task.givenUp, 0) !== 0) return null
  const outcome = await outcomeOf(task)
  if ('reason' in outcome) return outcome
  return move({
    get [transferableSymbol]() {
      return outcome.keys.buffer
    },
    get [valueSymbol]() {
      return outcome
    },
  })
}
