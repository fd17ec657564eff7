/**
 * Loads the tokenizer an option names: `toy`, or a directory with `tokenizer.json`, from which the
 * model's own chat template and vocabulary come, as a real node reads them.
 *
 * A real vocabulary is decoded once, token by token, so that chunks of a stream need no call into
 * the tokenizer; then the words of answers are chosen from it: a space and a few letters that
 * encode to themselves wherever they stand. Costs 0.2 to 1 s and about 20 MB a model.
 */
import path from 'node:path'
import { HfTokenizer } from '../prompt/hf_tokenizer.ts'
import { SimTokenizer, WORDS_MAX } from './sim_tokenizer.ts'

/** Words of answers: short enough to look like tokens, plain enough to survive any template. */
const WORD = /^ [a-z]{2,8}$/
/** A vocabulary with fewer such words is not one of a language model. */
const WORDS_MIN = 16

export async function loadTokenizer(name: string): Promise<SimTokenizer> {
  if (name === 'toy') return SimTokenizer.toy()
  const { Tokenizer } = await import('tokenizers')
  const tokenizer = await HfTokenizer.load(name)
  const core = Tokenizer.fromFile(path.join(name, 'tokenizer.json'))
  const ids = Array.from({ length: core.getVocabSize(true) }, (_, id) => [id])
  const texts = await core.decodeBatch(ids, false)
  const words: number[] = []
  for (const [id, text] of texts.entries()) {
    if (words.length === WORDS_MAX) break
    if (!WORD.test(text)) continue
    const [found, ...rest] = await tokenizer.encode(text, false)
    if (found === id && rest.length === 0) words.push(id)
  }
  if (words.length < WORDS_MIN) throw new RangeError(`${name} has no words to answer with`)
  return new SimTokenizer(tokenizer, {
    words: Uint32Array.from(words),
    textOf: id => texts[id] ?? '',
    spellingOf: id => core.idToToken(id) ?? '',
    decode: async list => await core.decode([...list], false),
  })
}
