/**
 * The examples do what they say: they stream, the network is cut twice in the middle, and the
 * answer is whole, each word once. The page runs in a Chromium, where one is installed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { packageRoot } from '../../src/native/package_root.ts'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { healthy, startGateway, until } from '../gateway/gateway.ts'
import { CHROMIUM, Page } from './chromium.ts'
import { CutRelay } from './cut_relay.ts'

const EXAMPLES = path.join(packageRoot(), 'examples')
const KEY = 'example-key-of-some-length-0123456789'
const CUTS = 2

async function textOf(page: Page, id: string): Promise<string> {
  return String(await page.evaluate(`document.getElementById('${id}')?.textContent ?? ''`))
}

describe.each([1, 2])('with %i gateway threads', threads => {
  let node: SimNode
  let gateway: Gateway
  let relay: CutRelay
  let page: Page | null = null
  let script: ChildProcess | null = null

  beforeAll(async () => {
    node = await startSimNode({ timeFactor: 0.5, outputTokens: 600 })
    const args = ['--threads', String(threads), '--api-key', KEY]
    gateway = await startGateway([node.url], args)
    await healthy(gateway, 1)
  })

  beforeEach(async () => {
    relay = await CutRelay.to(gateway.url)
  })

  afterEach(async () => {
    relay.close()
    await page?.close()
    page = null
    script?.kill()
    script = null
  })

  afterAll(async () => {
    expect(await gateway.stop()).toBe(0)
    await node.close()
  })

  function address(): string {
    return `ws://127.0.0.1:${relay.port}/v1/responses`
  }

  /** The text of the last response, as the gateway has stored it. */
  async function storedText(): Promise<string> {
    const asked = node.requests.findLast(one => one.method === 'POST')
    const { request_id: id } = JSON.parse(String(asked?.body)) as { request_id: string }
    const headers = { authorization: `Bearer ${KEY}` }
    const reply = await fetch(`${gateway.url}/v1/responses/${id}`, { headers })
    const stored = (await reply.json()) as { output: { content: { text: string }[] }[] }
    return stored.output.flatMap(item => item.content.map(({ text }) => text)).join('')
  }

  /** Cuts the network twice while `text` grows; says how often it was connected again. */
  async function cutWhile(text: () => string | Promise<string>): Promise<void> {
    let seen = 0
    for (let i = 0; i < CUTS; i++) {
      await until(async () => (await text()).length > seen + 10, `more text before cut ${i}`)
      const before = relay.accepted
      seen = (await text()).length
      relay.cut()
      await until(() => relay.accepted > before, 'another connection')
    }
  }

  function runScript(key: string) {
    const file = path.join(EXAMPLES, 'stream_and_resume.mjs')
    const child = spawn(process.execPath, [file, address(), 'Tell me a story'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, WARMPATH_KEY: key },
    })
    script = child
    return child
  }

  /** The exit code of the Node script, and what it wrote beside the answer. */
  async function failed(key: string): Promise<[number, string]> {
    const child = runScript(key)
    let notes = ''
    child.stderr.on('data', part => {
      notes += String(part)
    })
    const [code] = (await once(child, 'close')) as [number]
    return [code, notes]
  }

  test('the Node script fails where the answer does', async () => {
    await node.fault({ kind: 'die', events: 6, times: 1 })
    const [code, notes] = await failed(KEY)
    expect(code).toBe(1)
    expect(notes).toContain('the node failed in the middle of its answer')
  })

  test.runIf(threads === 1)('the Node script gives up where nobody lets it in', async () => {
    const [code, notes] = await failed('wrong-key-of-some-length-0123456789')
    expect(code).toBe(1)
    expect(notes).toContain('is the key right?')
  })

  test('the Node script', async () => {
    const child = runScript(KEY)
    let text = ''
    let notes = ''
    child.stdout.on('data', part => {
      text += String(part)
    })
    child.stderr.on('data', part => {
      notes += String(part)
    })
    const exited = once(child, 'close')
    await cutWhile(() => text)
    expect(await exited).toEqual([0, null])
    expect(text).toBe(`${await storedText()}\n`)
    expect(notes.match(/connection lost after event \d+/g)).toHaveLength(CUTS)
  })

  /** The page, with its question sent. */
  async function openPage(key: string): Promise<Page> {
    const file = pathToFileURL(path.join(EXAMPLES, 'stream_and_resume.html'))
    file.search = String(new URLSearchParams({ url: address(), key }))
    const open = await Page.open(file.href)
    page = open
    await until(async () => (await textOf(open, 'send')) === 'Send', 'the page')
    await open.evaluate("document.getElementById('send').click()")
    return open
  }

  test.runIf(CHROMIUM !== null)('the page in a browser', async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-page-'))
    const open = await openPage(KEY)
    const read = (id: string): Promise<string> => textOf(open, id)
    await cutWhile(() => read('answer'))
    const wanted = `complete, though the network was cut ${CUTS} times`
    await until(async () => (await read('status')) === wanted, 'the end')
    expect(await read('answer')).toBe(await storedText())
    const picture = await open.picture()
    writeFileSync(process.env['WARMPATH_PICTURE'] ?? path.join(folder, 'page.png'), picture)
    expect(picture.length).toBeGreaterThan(5000)
    rmSync(folder, { recursive: true })
  })

  test.runIf(CHROMIUM !== null && threads === 1)('the page gives up, too', async () => {
    const open = await openPage('wrong-key-of-some-length-0123456789')
    await until(async () => (await textOf(open, 'status')).includes('is the key right?'), 'the end')
    const tries = relay.accepted
    await open.evaluate("document.getElementById('send').click()")
    await until(() => relay.accepted > tries, 'the question being asked again')
  })
})
