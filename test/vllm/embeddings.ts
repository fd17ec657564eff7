/** An embedding engine behind the gateway: the same bytes, and the SDK's own decoding. */
import OpenAI from 'openai'
import type { Engine } from './engine.ts'
import type { Gateway } from './gateway_process.ts'
import type { Prompts } from './prompts.ts'
import { check, type Report } from './report.ts'
import { post } from './wire.ts'

/** The body without what an engine makes up for each reply. */
function strip(text: string): string {
  return text.replaceAll(/"(id)":"[^"]*"|"(created)":\d+/g, '"$1$2":0')
}

export async function checkEmbeddings(
  report: Report,
  gateway: Gateway,
  engine: Engine,
  model: string,
  prompts: Prompts,
): Promise<void> {
  await report.fact('embeddings: the same bytes as direct to the node', async () => {
    const figures: string[] = []
    for (const input of [
      prompts.text(40),
      [prompts.text(9), prompts.text(5)],
      prompts.tokens(50),
    ]) {
      for (const format of ['float', 'base64']) {
        const body = { model, input, encoding_format: format }
        const direct = await post(engine.url, '/v1/embeddings', body)
        const through = await post(gateway.url, '/v1/embeddings', body)
        check(direct.status === 200, `${direct.status} ${direct.text}`)
        check(strip(direct.text) === strip(through.text), through.text.slice(0, 500))
        figures.push(String(through.text.length))
      }
    }
    return `bodies of ${figures.join(', ')} bytes`
  })
  await report.fact('embeddings: openai SDK', async () => {
    const client = new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 })
    const { data, usage } = await client.embeddings.create({ model, input: ['one', 'two'] })
    const sizes = data.map(({ embedding }) => embedding.length)
    check(sizes.length === 2 && sizes.every(size => size > 0), sizes.join())
    return `${sizes.join(' and ')} numbers, ${usage.prompt_tokens} prompt tokens`
  })
}
