/** Pages of other origins: only where origins are configured, and with whatever headers they have. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startSimNode } from '../../src/sim/sim_node.ts'
import { healthy, startGateway } from './gateway.ts'

const ORIGIN = 'https://app.test'
const BODY = '{"model":"sim","messages":[{"role":"user","content":"x"}],"max_tokens":2'

test('a preflight with new headers passes, and every answer names the origin', async () => {
  const node = await startSimNode({ timeFactor: 0 })
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-origins-'))
  const file = path.join(folder, 'warmpath.yaml')
  writeFileSync(file, `nodes:\n  - url: ${node.url}\norigins: ["${ORIGIN}"]\n`)
  const gateway = await startGateway([], ['--config', file, '--threads', '2'])
  const plain = await startGateway([node.url], ['--threads', '1'])
  await Promise.all([healthy(gateway, 1), healthy(plain, 1)])
  const ask = (origin: string, method: string, at: string, body: string | null = null) =>
    fetch((origin === '' ? plain : gateway).url + at, {
      method,
      body,
      headers: {
        origin: origin === '' ? ORIGIN : origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, x-stainless-brand-new',
        'content-type': 'application/json',
      },
    })
  const chat = '/v1/chat/completions'
  const preflight = await ask(ORIGIN, 'OPTIONS', chat)
  expect(preflight.status).toBe(200)
  expect(preflight.headers.get('access-control-allow-origin')).toBe(ORIGIN)
  expect(preflight.headers.get('access-control-allow-headers')).toContain('x-stainless-brand-new')
  const answers = await Promise.all([
    ask(ORIGIN, 'POST', chat, `${BODY}}`),
    ask(ORIGIN, 'POST', chat, `${BODY},"stream":true}`),
    ask(ORIGIN, 'POST', chat, '{'),
    ask(ORIGIN, 'GET', '/v1/models'),
    ask(ORIGIN, 'GET', '/v1/responses/resp_0'),
  ])
  for (const answer of answers) {
    await answer.text()
    expect([answer.url, answer.headers.get('access-control-allow-origin')]).toEqual([
      answer.url,
      ORIGIN,
    ])
    expect(answer.headers.get('access-control-expose-headers')).toContain('x-request-id')
  }
  // Other pages, and every page where no origins are configured, get nothing of it.
  for (const origin of ['https://evil.test', '']) {
    const refused = await ask(origin, 'OPTIONS', chat)
    expect(refused.status).toBe(405)
    const reply = await ask(origin, 'POST', chat, `${BODY}}`)
    expect(reply.status).toBe(200)
    expect(reply.headers.get('access-control-allow-origin')).toBe(null)
  }
  expect(await Promise.all([gateway.stop(), plain.stop()])).toEqual([0, 0])
  await node.close()
  rmSync(folder, { recursive: true })
})
