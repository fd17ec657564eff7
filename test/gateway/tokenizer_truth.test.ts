/** A tokenizer that is not the node's own is found out, and its model is keyed by text. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startSimNode } from '../../src/sim/sim_node.ts'
import { metric, startGateway, until } from './gateway.ts'

/** A vocabulary of bytes: valid, and certainly not the one of a simulated node. */
function byteTokenizer(): string {
  const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))
  const vocab = Object.fromEntries(['<unk>', ...letters].map((text, id) => [text, id]))
  return JSON.stringify({
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
  })
}

test('a model whose tokenizer differs from the node is keyed by text, and said so', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'warmpath-'))
  const template = '{% for m in messages %}{{ m.content }}{% endfor %}'
  await writeFile(path.join(folder, 'tokenizer.json'), byteTokenizer())
  await writeFile(
    path.join(folder, 'tokenizer_config.json'),
    JSON.stringify({ chat_template: template }),
  )
  const node = await startSimNode({ timeFactor: 0 })
  const flags = ['--threads', '1', '--model', `sim=${folder}`]
  const gateway = await startGateway([node.url], flags)
  await until(() => gateway.lines.some(line => line.includes('tokenizer differs')), 'the verdict')
  const reply = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"model":"sim","messages":[{"role":"user","content":"hi"}],"max_tokens":2}',
  })
  expect(reply.status).toBe(200)
  expect(await metric(gateway, 'warmpath_prompts_total{source="text"}')).toBe(1)
  expect(await gateway.stop()).toBe(0)
  await node.close()
  await rm(folder, { recursive: true })
})
