import { describe, expect, it } from 'vitest'
import { checkTruth, type PostJson, TRUTH_SAMPLES } from '../../src/prompt/truth.ts'
import { TruthKeeper } from '../../src/prompt/truth_keeper.ts'

const own = async (body: object): Promise<Uint32Array> =>
  Uint32Array.from(Buffer.from(JSON.stringify(body)))

/** A node whose tokenizer makes a token of each byte of the sample. */
function node(change: (tokens: number[], nth: number) => number[] = tokens => tokens): PostJson {
  let nth = 0
  return async (path, sent) => {
    expect(path).toBe('/tokenize')
    const { model, ...body } = { model: '', ...Object.assign({}, sent) }
    expect(model).toBe('m')
    const tokens = change([...Buffer.from(JSON.stringify(body))], nth++)
    return { status: 200, body: { count: tokens.length, tokens } }
  }
}

describe('the truth check', () => {
  it('is content when every sample has the ids of the node', async () => {
    const compared = TRUTH_SAMPLES.length
    expect(await checkTruth('m', own, node())).toEqual({ kind: 'equal', compared })
  })

  it('sees one id that differs, one that is missing and one too many', async () => {
    const changes: ((tokens: number[], nth: number) => number[])[] = [
      (tokens, nth) => (nth === 3 ? [...tokens.slice(0, 9), 999, ...tokens.slice(10)] : tokens),
      (tokens, nth) => (nth === 5 ? tokens.slice(0, -1) : tokens),
      (tokens, nth) => (nth === 0 ? [...tokens, 1] : tokens),
    ]
    for (const change of changes) {
      const verdict = await checkTruth('m', own, node(change))
      expect(verdict.kind).toBe('different')
    }
    const [first] = changes
    const verdict = await checkTruth('m', own, node(first))
    expect(verdict).toMatchObject({ message: expect.stringContaining('token 9 is') })
  })

  it('says nothing about a model whose node does not tell', async () => {
    for (const status of [403, 404, 405]) {
      const verdict = await checkTruth('m', own, async () => ({ status, body: {} }))
      expect(verdict).toEqual({ kind: 'unavailable', message: `/tokenize answers ${status}` })
    }
    const refused = await checkTruth('m', own, () => Promise.reject(new Error('refused')))
    expect(refused.kind).toBe('unavailable')
    const silent = await checkTruth('m', async () => null, node())
    expect(silent.kind).toBe('unavailable')
  })

  it('leaves out samples that the template of the model refuses', async () => {
    let nth = 0
    const answers = node()
    const post: PostJson = async (path, body) =>
      nth++ === 2 ? { status: 400, body: { error: {} } } : await answers(path, body)
    const compared = TRUTH_SAMPLES.length - 1
    expect(await checkTruth('m', own, post)).toEqual({ kind: 'equal', compared })
  })
})

describe('the keeper of the truth', () => {
  it('condemns a model once, and asks each start of a node once', async () => {
    const said: string[] = []
    const keeper = new TruthKeeper(
      () => own,
      (model, message) => said.push(`${model}: ${message}`),
    )
    const first = { id: 'a:1', epoch: 1 }
    expect(await keeper.check('m', 'dir', first, node())).toMatchObject({ kind: 'equal' })
    expect(keeper.isUntrue('m')).toBe(false)
    expect(await keeper.check('m', 'dir', first, node())).toBeNull()
    const lying = node(tokens => tokens.slice(1))
    await keeper.check('m', 'dir', { id: 'a:1', epoch: 2 }, lying)
    await keeper.check('m', 'dir', { id: 'b:1', epoch: 1 }, lying)
    expect(keeper.isUntrue('m')).toBe(true)
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(/^m: a:1 makes other tokens than dir: token 0 is/)
  })
})
